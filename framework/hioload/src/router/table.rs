//! What is registered, by path.

use std::borrow::Cow;
use std::rc::Rc;

use percent_encoding::percent_decode_str;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::error::RouteError;
use super::method::Method;
use super::mounted::Mounted;
use super::pattern::Pattern;
use crate::http::{Request, Response};

/// The parameters of a path, by name, decoded.
pub(super) type Params<'p> = SmallVec<[(&'p str, Cow<'p, str>); 4]>;

/// Answers plain requests of one method.
pub(super) struct Handler {
    pub(super) chain: Rc<[usize]>,
    pub(super) answer: Box<dyn FnMut(&Request<'_>) -> Response>,
}

/// Serves WebSockets.
pub(super) struct Socket {
    pub(super) chain: Rc<[usize]>,
    pub(super) service: Box<dyn Mounted>,
}

/// Everything registered for one path.
pub(super) struct Node {
    pub(super) handlers: Vec<(Method, Handler)>,
    pub(super) socket: Option<Socket>,
}

/// Finds nodes by matching.
#[derive(Default)]
pub(super) struct Paths(matchit::Router<usize>);

/// The nodes, and how they are found.
#[derive(Default)]
pub(super) struct Table {
    pub(super) paths: Paths,
    pub(super) nodes: Vec<Node>,
    /// As they were written, by node.
    pub(super) patterns: Vec<Rc<str>>,
    known: FxHashMap<Rc<str>, usize>,
}

/// Where a path leads.
pub(super) enum Found<'p> {
    Node(usize, Params<'p>),
    /// A parameter is no UTF-8 once decoded.
    NotText,
    Nowhere,
}

impl Table {
    pub(super) fn handler(
        &mut self,
        pattern: &Pattern,
        method: Method,
        handler: Handler,
    ) -> Result<(), RouteError> {
        let index = self.node(pattern)?;
        let node = &mut self.nodes[index];
        if node.handlers.iter().any(|(known, _)| *known == method) {
            return Err(RouteError::Twice {
                route: pattern.written().to_owned(),
                what: method.name(),
            });
        }
        node.handlers.push((method, handler));
        Ok(())
    }

    pub(super) fn socket(
        &mut self,
        pattern: &Pattern,
        socket: impl FnOnce(usize) -> Socket,
    ) -> Result<(), RouteError> {
        let index = self.node(pattern)?;
        let node = &mut self.nodes[index];
        if node.socket.is_some() {
            return Err(RouteError::Twice {
                route: pattern.written().to_owned(),
                what: "WebSockets",
            });
        }
        node.socket = Some(socket(index));
        Ok(())
    }

    fn node(&mut self, pattern: &Pattern) -> Result<usize, RouteError> {
        if let Some(&known) = self.known.get(pattern.written()) {
            return Ok(known);
        }
        let index = self.nodes.len();
        self.paths
            .0
            .insert(pattern.matched(), index)
            .map_err(|error| self.refused(pattern, &error))?;
        let written: Rc<str> = pattern.written().into();
        self.known.insert(Rc::clone(&written), index);
        self.patterns.push(written);
        self.nodes.push(Node {
            handlers: Vec::new(),
            socket: None,
        });
        Ok(index)
    }

    fn refused(&self, pattern: &Pattern, error: &matchit::InsertError) -> RouteError {
        let route = pattern.written().to_owned();
        match error {
            matchit::InsertError::Conflict { with } => {
                // In the notation it was registered in.
                let earlier = self.patterns.iter().find(|known| {
                    Pattern::parse("", known).is_ok_and(|known| known.matched() == with)
                });
                let with = earlier.map_or_else(|| with.clone(), |known| known.to_string());
                RouteError::Conflict { route, with }
            }
            // All others were refused when the pattern was parsed.
            _ => RouteError::Path { route },
        }
    }
}

impl Paths {
    pub(super) fn find<'p>(&'p self, path: &'p str) -> Found<'p> {
        let Ok(found) = self.0.at(path) else {
            return Found::Nowhere;
        };
        let node = *found.value;
        let mut params = Params::new();
        for (name, raw) in found.params.iter() {
            match percent_decode_str(raw).decode_utf8() {
                Ok(value) => params.push((name, value)),
                Err(_) => return Found::NotText,
            }
        }
        Found::Node(node, params)
    }
}

impl Node {
    /// Where the handler of a method is; `HEAD` is answered by `GET`.
    pub(super) fn position(&self, method: Method) -> Option<usize> {
        let find = |method| self.handlers.iter().position(|(known, _)| *known == method);
        let own = find(method);
        let get = || {
            (method == Method::Head)
                .then(|| find(Method::Get))
                .flatten()
        };
        own.or_else(get).or_else(|| find(Method::Any))
    }

    /// The methods answered here, as in the `Allow` header.
    pub(super) fn allow(&self) -> String {
        let mut methods: Vec<Method> = self.handlers.iter().map(|(method, _)| *method).collect();
        if methods.contains(&Method::Get) {
            methods.push(Method::Head);
        }
        methods.sort_unstable();
        methods.dedup();
        let names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(methods: &[Method]) -> Node {
        let mut table = Table::default();
        let pattern = Pattern::parse("", "/x").unwrap();
        for &method in methods {
            let handler = Handler {
                chain: Rc::default(),
                answer: Box::new(|_| Response::not_found()),
            };
            table.handler(&pattern, method, handler).unwrap();
        }
        table.nodes.remove(0)
    }

    #[test]
    fn the_more_literal_route_wins_and_a_wildcard_takes_what_is_left() {
        let written = [
            "/*rest",
            "/users/:id",
            "/users/me",
            "/users/:id/files/*path",
        ];
        let mut table = Table::default();
        for path in written {
            let pattern = Pattern::parse("", path).unwrap();
            table.node(&pattern).unwrap();
        }
        for (path, route, last) in [
            ("/users/me", "/users/me", None),
            ("/users/m", "/users/:id", Some("m")),
            ("/users/me/files/a/b", "/users/:id/files/*path", Some("a/b")),
            ("/users/m/x", "/*rest", Some("users/m/x")),
            ("/users/", "/*rest", Some("users/")),
            ("/u", "/*rest", Some("u")),
        ] {
            let Found::Node(node, params) = table.paths.find(path) else {
                panic!("{path} leads nowhere");
            };
            assert_eq!(&*table.patterns[node], route, "{path}");
            let found = params.last().map(|(_, value)| &**value);
            assert_eq!(found, last, "{path}");
        }
        assert!(matches!(table.paths.find("/"), Found::Nowhere));
        assert!(matches!(table.paths.find("*"), Found::Nowhere));
    }

    fn answering(node: &Node, method: &str) -> Option<Method> {
        let index = node.position(Method::of(method))?;
        Some(node.handlers[index].0)
    }

    #[test]
    fn each_method_has_its_handler_and_any_has_the_rest() {
        let named = node(&[
            Method::Post,
            Method::Get,
            Method::Put,
            Method::Delete,
            Method::Patch,
            Method::Options,
        ]);
        for (asked, answers) in [
            ("GET", Some(Method::Get)),
            ("HEAD", Some(Method::Get)),
            ("POST", Some(Method::Post)),
            ("PUT", Some(Method::Put)),
            ("DELETE", Some(Method::Delete)),
            ("PATCH", Some(Method::Patch)),
            ("OPTIONS", Some(Method::Options)),
            ("get", None),
            ("BREW", None),
        ] {
            assert_eq!(answering(&named, asked), answers, "{asked}");
        }
        assert_eq!(
            named.allow(),
            "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"
        );

        let rest = node(&[Method::Any, Method::Post, Method::Head]);
        for (asked, answers) in [
            ("POST", Method::Post),
            ("HEAD", Method::Head),
            ("GET", Method::Any),
            ("BREW", Method::Any),
        ] {
            assert_eq!(answering(&rest, asked), Some(answers), "{asked}");
        }
    }
}
