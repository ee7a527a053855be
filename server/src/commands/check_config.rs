//! `check-config`: whether the server would start with a configuration.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use hioload::tls::TlsConfig;

use super::{Outcome, WRONG, with_config};
use crate::config::{Settings, SettingsError};
use crate::{announce, log, proxy};

pub(super) fn run(file: Option<&Path>) -> Outcome {
    let place = file.map_or("the environment".into(), |file| file.display().to_string());
    let settings = match Settings::load(&with_config(file)) {
        Ok(settings) => settings,
        Err(error) => {
            // These name the file, or a variable, themselves.
            let is_named = matches!(
                error,
                SettingsError::Read { .. }
                    | SettingsError::Parse { .. }
                    | SettingsError::Variable { .. }
            );
            let prefix = if is_named {
                String::new()
            } else {
                format!("{place}: ")
            };
            eprintln!("hioload-server: {prefix}{error}");
            return Ok(ExitCode::from(WRONG));
        }
    };
    let faults = faults(&settings);
    for fault in &faults {
        eprintln!("hioload-server: {place}: {fault}");
    }
    if !faults.is_empty() {
        return Ok(ExitCode::from(WRONG));
    }
    for warning in warnings(&settings) {
        announce(&format!("warning: {warning}"));
    }
    announce(&format!("{place}: ok"));
    Ok(ExitCode::SUCCESS)
}

/// What is found only beyond the file: limits that contradict each other,
/// certificates, the log's filter.
fn faults(settings: &Settings) -> Vec<Box<dyn Error>> {
    let mut faults: Vec<Box<dyn Error>> = Vec::new();
    faults.extend(settings.config.check().err().map(Into::into));
    faults.extend(log::parse(&settings.log).err().map(Into::into));
    if !settings.certificates.is_empty() {
        let read = TlsConfig::from_pem_files(&settings.certificates);
        faults.extend(read.err().map(Into::into));
    }
    // Nobody is asked: only what is needed for it is looked at.
    faults.extend(proxy::check(&settings.applications).err().map(Into::into));
    faults
}

/// What is allowed, and perhaps not meant.
fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let chat = &settings.chat;
    if chat.insecure {
        warnings.push("client.insecure: everybody may do everything".to_owned());
    } else if chat.keys.is_empty() && !chat.client.anonymous && !settings.asks_who_connects() {
        warnings.push(
            "nobody can connect: there is no key for tokens (client.token_secret, \
             token_public_keys or token_jwks), and client.anonymous is false"
                .to_owned(),
        );
    }
    let passed_over = chat.keys.passed_over();
    if passed_over > 0 {
        warnings.push(format!(
            "client.token_jwks: {passed_over} keys are passed over, as they are not for RS256 or ES256"
        ));
    }
    let unknown = settings.unknown_variables.iter();
    warnings.extend(unknown.map(|name| format!("the variable {name} names no setting")));
    warnings
}
