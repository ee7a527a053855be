//! Who may open the admin page.

use hioload::control::DebugToken;
use serde::Deserialize;

use super::SettingsError;

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
        if self.token.is_empty() {
            return Ok(if dev {
                AdminAccess::Printed
            } else {
                AdminAccess::Off
            });
        }
        // The cause is said in this setting's own words.
        let token = DebugToken::new(self.token.clone()).or(Err(SettingsError::AdminToken))?;
        Ok(AdminAccess::Token(token))
    }
}
