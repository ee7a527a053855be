//! Who may open the admin page.

use hioload::control::DebugToken;
use serde::Deserialize;

use super::SettingsError;

/// The environment variable that overrides the file's `admin.token`. There is no
/// flag: everybody on the machine can read those.
pub(super) const TOKEN: &str = "HIOLOAD_ADMIN_TOKEN";

/// `[admin]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdminTable {
    token: String,
}

/// Who may open the admin page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAccess {
    /// There is none.
    Off,
    /// Who presents this.
    Token(DebugToken),
    /// Who presents what the server makes up at its start and prints: `--dev`,
    /// where only this machine can reach the server.
    Printed,
}

impl AdminTable {
    pub(super) fn access(&self, dev: bool) -> Result<AdminAccess, SettingsError> {
        let token = std::env::var(TOKEN).unwrap_or_else(|_| self.token.clone());
        if token.is_empty() {
            return Ok(if dev {
                AdminAccess::Printed
            } else {
                AdminAccess::Off
            });
        }
        // The cause is said in this setting's own words.
        let token = DebugToken::new(token).or(Err(SettingsError::AdminToken))?;
        Ok(AdminAccess::Token(token))
    }
}
