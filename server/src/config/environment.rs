//! Settings from the environment: `HIOLOAD_` and where the setting is in the
//! file, in capital letters with `_` between: `HIOLOAD_LIMITS_MAX_MESSAGE` is
//! `max_message` in `[limits]`.

use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::{File, SettingsError};

const PREFIX: &str = "HIOLOAD_";

/// The tables of the file, longest first, so that a setting is looked for in the
/// innermost one.
const TABLES: [&[&str]; 15] = [
    &["client", "rates"],
    &["backpressure"],
    &["persistence"],
    &["timeouts"],
    &["channel"],
    &["deflate"],
    &["offload"],
    &["proxies"],
    &["client"],
    &["limits"],
    &["notify"],
    &["routes"],
    &["admin"],
    &["smtp"],
    &["api"],
];

/// As [`TABLES`]: one whose name begins like nothing else.
const TLS: &[&str] = &["tls"];

/// Names that do not follow the rule.
const ALIASES: [(&str, &[&str]); 1] = [("HIOLOAD_TOKEN_SECRET", &["client", "token_secret"])];

/// Variables by name, in one order, so that the same ones come to the same.
pub(super) type Variables = Vec<(String, OsString)>;

/// Those of this process that are about settings.
pub(super) fn variables() -> Variables {
    let all =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut ours: Variables = all.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // A name by the rule comes last, and wins over its alias.
    ours.sort_by_key(|(name, _)| (path_of_alias(name).is_none(), name.clone()));
    ours
}

/// The file with what the variables say instead, and the names of those that
/// are about no setting.
pub(super) fn overlay(
    mut table: Table,
    variables: &Variables,
) -> Result<(File, Vec<String>), SettingsError> {
    let mut unknown = Vec::new();
    for (name, value) in variables {
        let Some(path) = path(name) else {
            unknown.push(name.clone());
            continue;
        };
        let wrong = |cause: String| SettingsError::Variable {
            name: name.clone(),
            setting: path.join("."),
            cause,
        };
        let text = value
            .to_str()
            .ok_or_else(|| wrong("it is not UTF-8".into()))?;
        // Their secrets are in the text, and may be in what is said of it.
        let said = |cause| match path.first() {
            Some(first) if first == "webhook" => "it is no list of webhooks as in the file".into(),
            _ => cause,
        };
        table = with(&table, &path, text).map_err(said).map_err(wrong)?;
    }
    // Each step was parsed before; so is the last.
    let file = File::deserialize(table).map_err(|error| SettingsError::Variable {
        name: PREFIX.into(),
        setting: String::new(),
        cause: error.message().to_owned(),
    })?;
    Ok((file, unknown))
}

/// The table with a setting that the text stands for: itself, or as TOML, or a
/// list with commas.
fn with(table: &Table, path: &[String], text: &str) -> Result<Table, String> {
    let as_toml = format!("value = {text}").parse::<Table>();
    let as_toml = as_toml.ok().and_then(|mut table| table.remove("value"));
    let list = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let list = Value::Array(list.map(|one| Value::String(one.into())).collect());
    let mut cause = None;
    for value in [Some(Value::String(text.into())), as_toml, Some(list)] {
        let Some(value) = value else {
            continue;
        };
        let mut changed = table.clone();
        set(&mut changed, path, value);
        match File::deserialize(changed.clone()) {
            Ok(_) => return Ok(changed),
            // What the text is as it stands says most about what is allowed.
            Err(error) => cause = cause.or(Some(error.message().replace('\n', " "))),
        }
    }
    Err(cause.unwrap_or_default())
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table.entry(first).or_insert_with(|| Table::new().into());
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn path_of_alias(name: &str) -> Option<Vec<String>> {
    let (_, path) = ALIASES.iter().find(|(alias, _)| *alias == name)?;
    Some(path.iter().map(|&part| part.to_owned()).collect())
}

/// Where the setting of a variable is. `None`: there is none.
fn path(name: &str) -> Option<Vec<String>> {
    if let Some(path) = path_of_alias(name) {
        return Some(path);
    }
    let rest = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let in_table = TABLES.iter().chain([&TLS]).filter_map(|table| {
        let inner = rest.strip_prefix(&table.join("_"))?.strip_prefix('_')?;
        let table = table.iter().map(|&part| part.to_owned());
        Some(table.chain([inner.to_owned()]).collect())
    });
    in_table
        .chain([vec![rest.clone()]])
        .find(|path| is_setting(path))
}

/// Whether the file may say this: a value that nothing can be is refused for
/// another reason than a name that is not there.
fn is_setting(path: &[String]) -> bool {
    let mut table = Table::new();
    set(
        &mut table,
        path,
        Value::Datetime("1979-05-27".parse().expect("a date")),
    );
    match File::deserialize(table) {
        Ok(_) => true,
        Err(error) => !error.message().starts_with("unknown field"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str, variables: &[(&str, &str)]) -> Result<(File, Vec<String>), String> {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        overlay(file.parse().unwrap(), &variables).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_is_named_after_where_its_setting_is() {
        for (name, expected) in [
            ("HIOLOAD_LISTEN", Some("listen")),
            ("HIOLOAD_DEBUG_TOKEN", Some("debug_token")),
            ("HIOLOAD_LIMITS_MAX_MESSAGE", Some("limits.max_message")),
            ("HIOLOAD_CLIENT_RATES_PUBLISH", Some("client.rates.publish")),
            ("HIOLOAD_CLIENT_TOKEN_SECRET", Some("client.token_secret")),
            ("HIOLOAD_TOKEN_SECRET", Some("client.token_secret")),
            ("HIOLOAD_API_KEY", Some("api.key")),
            ("HIOLOAD_TLS_LISTEN", Some("tls.listen")),
            ("HIOLOAD_CHANNEL_HISTORY_TTL", Some("channel.history_ttl")),
            ("HIOLOAD_NAMESPACE", Some("namespace")),
            ("HIOLOAD_WEBHOOK", Some("webhook")),
            ("HIOLOAD_SMTP_PASSWORD", Some("smtp.password")),
            ("HIOLOAD_NOTIFY_FLUSH", Some("notify.flush")),
            ("HIOLOAD_LIMITS_MAX_MESAGE", None),
            ("HIOLOAD_PORT_8000_TCP", None),
            ("HIOLOAD_", None),
        ] {
            let found = path(name).map(|path| path.join("."));
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn variables_override_the_file_whatever_their_type() {
        let file = "listen = ['127.0.0.1:1']\nshards = 1\n[timeouts]\nidle = '7s'\nping = '1s'";
        let (file, unknown) = of(
            file,
            &[
                ("HIOLOAD_API_KEY", "12345678901234567890"),
                ("HIOLOAD_CLIENT_ANONYMOUS", "true"),
                ("HIOLOAD_CPUS", "0"),
                ("HIOLOAD_LISTEN", "127.0.0.1:2, 127.0.0.1:3"),
                ("HIOLOAD_NAMESPACE", "[{ name = 'a', presence = false }]"),
                ("HIOLOAD_SERVER", "x"),
                ("HIOLOAD_SHARDS", "3"),
                ("HIOLOAD_TIMEOUTS_IDLE", "9s"),
                ("HIOLOAD_TLS_LISTEN", "[]"),
            ],
        )
        .unwrap();
        assert_eq!(unknown, ["HIOLOAD_SERVER"]);
        assert_eq!(file.listen, ["127.0.0.1:2", "127.0.0.1:3"]);
        assert_eq!((file.shards, file.cpus.as_deref()), (Some(3), Some("0")));
        assert!(file.client.anonymous);
        assert_eq!(
            (&*file.namespace[0].name, file.namespace[0].presence),
            ("a", false)
        );
        let idle = file.timeouts.idle.unwrap();
        assert_eq!(idle.0, std::time::Duration::from_secs(9));
        assert!(file.timeouts.ping.is_some(), "the rest of the table stays");
    }

    #[test]
    fn a_wrong_value_names_its_variable_and_what_is_allowed() {
        for (name, value, named) in [
            ("HIOLOAD_BACKEND", "magic", "`uring`"),
            ("HIOLOAD_SHARDS", "many", "usize"),
            ("HIOLOAD_TIMEOUTS_IDLE", "soon", "write such as"),
            ("HIOLOAD_CLIENT_RATES_READ", "5", "COUNT/DURATION"),
            ("HIOLOAD_WEBHOOK", "[{ secret = 'x' ", "no list of webhooks"),
        ] {
            let error = of("", &[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(named), "{error}");
        }
    }
}
