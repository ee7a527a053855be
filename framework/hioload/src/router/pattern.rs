//! Paths as they are registered.

use super::error::RouteError;

/// A checked path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it was written: `/chat/:room`.
    written: String,
    /// As the matching library wants it: `/chat/{room}`.
    matched: String,
}

impl Pattern {
    pub(super) fn parse(prefix: &str, path: &str) -> Result<Self, RouteError> {
        let written = format!("{prefix}{path}");
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
        let begins = path.starts_with('/') || (path.is_empty() && !prefix.is_empty());
        if !begins || !written.bytes().all(visible) {
            return Err(RouteError::Path { route: written });
        }
        let mut matched = String::with_capacity(written.len() + 8);
        let mut names: Vec<&str> = Vec::new();
        let mut segments = written.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            matched.push('/');
            let (mark, name) = match segment.as_bytes().first() {
                Some(b':') => ("", &segment[1..]),
                Some(b'*') => ("*", &segment[1..]),
                _ => {
                    matched.push_str(&segment.replace('{', "{{").replace('}', "}}"));
                    continue;
                }
            };
            let (route, segment) = (written.clone(), segment.to_owned());
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(valid) || names.contains(&name) {
                return Err(RouteError::Param { route, segment });
            }
            if mark == "*" && segments.peek().is_some() {
                return Err(RouteError::Wildcard { route, segment });
            }
            names.push(name);
            matched.push('{');
            matched.push_str(mark);
            matched.push_str(name);
            matched.push('}');
        }
        Ok(Self { written, matched })
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }

    pub(super) fn matched(&self) -> &str {
        &self.matched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(prefix: &str, path: &str) -> String {
        Pattern::parse(prefix, path).unwrap().matched
    }

    #[test]
    fn parameters_and_wildcards_are_translated_and_braces_are_literal() {
        assert_eq!(matched("", "/"), "/");
        assert_eq!(matched("/api", ""), "/api");
        assert_eq!(
            matched("/api", "/users/:id/files/*rest"),
            "/api/users/{id}/files/{*rest}"
        );
        assert_eq!(matched("", "/a:b/{x}"), "/a:b/{{x}}");
    }

    #[test]
    fn malformed_paths_are_refused_by_name() {
        for path in ["", "users", "/a b", "/a?b", "/a#b", "/\u{e4}"] {
            let error = Pattern::parse("", path).unwrap_err();
            assert_eq!(
                error,
                RouteError::Path {
                    route: path.to_owned()
                }
            );
        }
        for path in ["/:", "/*", "/:a-b", "/:a/x/:a", "/:a/*a"] {
            let error = Pattern::parse("", path).unwrap_err();
            assert!(matches!(error, RouteError::Param { .. }), "{path}: {error}");
        }
        let error = Pattern::parse("", "/*rest/more").unwrap_err();
        assert!(matches!(error, RouteError::Wildcard { .. }), "{error}");
    }
}
