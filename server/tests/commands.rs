//! The subcommands about configuration and tokens, as people run them.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::server;

/// A file that ends with its test.
struct File(PathBuf);

impl File {
    fn at(name: &str) -> Self {
        let name = format!("hioload-commands-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn new(name: &str, text: &str) -> Self {
        let file = Self::at(name);
        std::fs::write(&file.0, text).expect("a file");
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn key(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name);
    path.to_str().expect("text").to_owned()
}

struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

fn ended(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        error: text(output.stderr),
    }
}

fn run(args: &[&str]) -> Said {
    ended(server(args).output().expect("it runs"))
}

fn run_with(variables: &[(&str, &str)], args: &[&str]) -> Said {
    let mut command = server(args);
    command.envs(variables.iter().copied());
    ended(command.output().expect("it runs"))
}

fn run_fed(input: &str, mut command: Command) -> Said {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("an input");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    ended(child.wait_with_output().expect("it ends"))
}

#[test]
fn the_documented_example_is_right() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/hioload-server.toml");
    let said = run(&["check-config", example]);
    assert_eq!(said.code, Some(0), "{}", said.error);
    assert!(
        said.out.ends_with("hioload-server.toml: ok\n"),
        "{}",
        said.out
    );
    assert!(said.out.contains("nobody can connect"), "{}", said.out);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_is_allowed() {
    let (private, weak) = (key("rsa.pem"), key("rsa1024.pub.pem"));
    let (private, weak) = (
        format!("client.token_public_keys = ['{private}']"),
        format!("client.token_public_keys = ['{weak}']"),
    );
    for (text, named) in [
        (
            "[limits]\nmax_mesage = 5",
            &["line 2", "max_mesage", "`max_message`"][..],
        ),
        ("\nbackend = 'magic'", &["line 2", "magic", "`uring`"]),
        (
            "[timeouts]\nidle = 'soon'",
            &["line 2", "write such as \"25s\""],
        ),
        ("a = ", &["line 1"]),
        (
            "[limits]\nmax_message = 9",
            &["max_message", "at least 125"],
        ),
        ("log = 'a=b=c'", &["log filter"]),
        ("cpus = '3-1'", &["\"3-1\" ends before it begins"]),
        (
            "client.token_secret = 'short'",
            &["client.token_secret", "at least 16"],
        ),
        (
            "client.rates.publish = 'often'",
            &["line 1", "COUNT/DURATION"],
        ),
        (
            "client.max_channels = 3000",
            &["client.rates.subscribe", "at least 3000/10s"],
        ),
        (
            "client.allowed_origins = ['x']",
            &["client.allowed_origins", "https://"],
        ),
        ("channel.allow_publish = 'all'", &["line 1", "`subscriber`"]),
        ("[[namespace]]\nname = 'a b'", &["\"a b\"", "letters"]),
        (
            "tls.certificates = [{ cert = '/no/c.pem', key = '/no/k.pem' }]",
            &["/no/c.pem"],
        ),
        (&private, &["rsa.pem holds a private key"]),
        (&weak, &["rsa1024.pub.pem", "2048 to 4096"]),
    ] {
        let file = File::new("wrong.toml", text);
        let said = run(&["check-config", file.path()]);
        assert_eq!(said.code, Some(1), "{text}: {} {}", said.out, said.error);
        assert_eq!(said.error.lines().count(), 1, "{text}: {}", said.error);
        assert_eq!(said.out, "");
        for word in [file.path()].iter().chain(named) {
            assert!(
                said.error.contains(word),
                "{text}: no {word:?} in {}",
                said.error
            );
        }
    }
    let said = run(&["check-config", "/no/such.toml"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.error
            .contains("cannot read the configuration /no/such.toml")
    );
}

#[test]
fn a_secret_in_a_wrong_line_is_not_shown() {
    for text in [
        "[client]\ntoken_secret = \"seen by nobody",
        "[client]\ntoken_secret = 1234512345123451234",
        "api.key = ['seen by nobody']",
        "debug_token = 'seen by nobody' x",
    ] {
        let file = File::new("secret.toml", text);
        let said = run(&["check-config", file.path()]);
        assert_eq!(said.code, Some(1));
        for secret in ["seen by nobody", "1234512345"] {
            assert!(!said.error.contains(secret), "{}", said.error);
        }
        assert!(said.error.contains("line "), "{}", said.error);
    }
}

#[test]
fn the_environment_overrides_the_file_and_flags_the_environment() {
    let file = File::new("precedence.toml", "[limits]\nmax_message = 9");
    let config = ["check-config", file.path()];
    assert_eq!(run(&config).code, Some(1));
    let right = ("HIOLOAD_LIMITS_MAX_MESSAGE", "9000");
    let said = run_with(&[right, ("HIOLOAD_NONE", "1")], &config);
    assert_eq!(said.code, Some(0), "{}", said.error);
    assert!(
        said.out.contains("HIOLOAD_NONE names no setting"),
        "{}",
        said.out
    );
    let wrong = ("HIOLOAD_LIMITS_MAX_MESSAGE", "much");
    let said = run_with(&[wrong], &config);
    assert_eq!(said.code, Some(1));
    let expected = "the variable HIOLOAD_LIMITS_MAX_MESSAGE is wrong";
    assert!(said.error.contains(expected), "{}", said.error);

    let probe = ["probe", "--json", "--shards", "1"];
    let said = run_with(&[("HIOLOAD_SHARDS", "0")], &probe);
    assert_eq!(said.code, Some(0), "a flag overrides it: {}", said.error);
    let said = run_with(&[("HIOLOAD_SHARDS", "65")], &probe[..2]);
    assert_eq!(said.code, Some(2));
    assert!(said.error.contains("at most 64"), "{}", said.error);
}

#[test]
fn a_generated_configuration_is_right_and_never_overwrites() {
    let file = File::at("generated.toml");
    let written = run(&["gen-config", "-o", file.path()]);
    assert_eq!(written.code, Some(0), "{}", written.error);
    let said = run(&["check-config", file.path()]);
    assert_eq!(said.code, Some(0), "{}", said.error);
    assert!(!said.out.contains("warning"), "{}", said.out);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file.0)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "secrets are in it");
    }
    let before = std::fs::read_to_string(&file.0).expect("a file");
    let again = run(&["gen-config", "-o", file.path()]);
    assert_eq!(again.code, Some(2));
    assert!(again.error.contains("is there already"), "{}", again.error);
    assert_eq!(std::fs::read_to_string(&file.0).expect("a file"), before);
    let other = run(&["gen-config"]);
    assert_eq!(other.code, Some(0));
    assert_eq!(other.out.lines().count(), before.lines().count());
    assert_ne!(other.out, before, "secrets are new each time");
}

#[test]
fn a_generated_token_is_valid_until_it_ends_and_says_what_it_is_for() {
    let file = File::new(
        "token.toml",
        "[client]\ntoken_secret = 'a secret for the tests alone'\ntoken_issuer = 'me'\ntoken_audience = 'you'",
    );
    let config = ["--config", file.path()];
    let generate = |args: &[&str]| {
        let said = run(&[&["gen-token"], args, &config[..]].concat());
        assert_eq!(said.code, Some(0), "{}", said.error);
        said.out.trim().to_owned()
    };
    let check = |token: &str| run(&["check-token", token, config[0], config[1]]);

    let said = check(&generate(&["--user", "42", "--info", r#"{"name":"Ann"}"#]));
    assert_eq!(said.code, Some(0), "{}", said.out);
    for word in [
        "valid: for a connection of the user \"42\", HS256 by client.token_secret",
        "expires: 2",
        "\"name\": \"Ann\"",
        "\"iss\": \"me\"",
    ] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    let said = check(&generate(&["--user", "", "--ttl", "0s", "--channel", "$a"]));
    assert!(
        said.out
            .starts_with("valid: for a subscription to \"$a\" of nobody"),
        "{}",
        said.out
    );
    assert!(said.out.contains("expires: never"), "{}", said.out);

    let token = generate(&["--user", "42"]);
    let fed = run_fed(
        &format!("{token}\n"),
        server(&["check-token", "-", config[0], config[1]]),
    );
    assert_eq!(fed.code, Some(0), "{}", fed.out);
    let other = [("HIOLOAD_CLIENT_TOKEN_SECRET", "another secret entirely")];
    let said = run_with(&other, &["check-token", &token, config[0], config[1]]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.starts_with("invalid: its signature"),
        "{}",
        said.out
    );
    assert!(said.out.contains("not to be trusted"), "{}", said.out);
    let said = check("no token");
    assert_eq!(
        (said.code, said.out.starts_with("invalid: it is no JWT")),
        (Some(1), true)
    );
}

#[test]
fn tokens_without_keys_are_not_guessed_about() {
    let said = run(&["gen-token", "--user", "42"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.error.contains("there is no client.token_secret"),
        "{}",
        said.error
    );
    let said = run(&["check-token", "x.y.z"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.error.contains("there is no key to check it with"),
        "{}",
        said.error
    );
    let args = ["gen-token", "--user", "42", "--info", "{"];
    let secret = [("HIOLOAD_TOKEN_SECRET", "a secret for the tests alone")];
    let said = run_with(&secret, &args);
    assert_eq!(said.code, Some(2));
    assert!(said.error.contains("--info is no JSON"), "{}", said.error);
}
