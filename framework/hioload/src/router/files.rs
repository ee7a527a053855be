//! Static files.

mod answer;
mod load;

pub use load::FilesError;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use answer::Document;

use super::Router;
use crate::http::{Request, Response};

/// The files of a directory, read into memory.
///
/// A shard must not wait for a disk, so files are read once, by
/// [`load`](Self::load), before the server starts, and changes are not seen
/// until they are loaded again. Clones share the memory: load once, clone for
/// each shard.
///
/// ```no_run
/// use hioload::router::Files;
/// use hioload::{Router, Server};
///
/// let assets = Files::load("assets")?.cache_control("public, max-age=3600");
/// Server::bind("127.0.0.1:8000")
///     .run(move |_shard| Router::new().files("/assets", &assets))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Answered are `GET` and `HEAD`, with `ETag` (a digest of the content),
/// `Last-Modified`, `If-None-Match`, `If-Modified-Since`, and a single `Range`
/// with `If-Range` (RFC 9110 sections 8.8, 13 and 14). A path that ends with a
/// slash is answered with `index.html` from there. Types come from the names'
/// extensions, with `nosniff`; texts are said to be UTF-8.
///
/// A request's path is looked up among the names found at the load and never
/// opened, so no path leads out of the directory. Files and directories whose
/// name begins with a dot are left out, except `.well-known`. A symbolic link
/// to a file within the directory is that file; links to elsewhere and to
/// directories are left out.
#[derive(Clone, Debug)]
pub struct Files {
    documents: Arc<HashMap<Box<str>, Document>>,
    cache_control: Option<Arc<str>>,
}

/// Bytes of all files together that [`Files::load`] takes.
const MOST_BYTES: u64 = 64 << 20;

impl Files {
    /// Reads all files of a directory and those below it, up to 64 MiB
    /// together. Blocks.
    ///
    /// # Errors
    /// What cannot be read, by its path, or that it is too much.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, FilesError> {
        Self::load_up_to(dir, MOST_BYTES)
    }

    /// As [`load`](Self::load), up to so many bytes together.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_up_to(dir: impl AsRef<Path>, most: u64) -> Result<Self, FilesError> {
        Ok(Self {
            documents: Arc::new(load::directory(dir.as_ref(), most)?),
            cache_control: None,
        })
    }

    /// Sends this `Cache-Control` with each file.
    #[must_use]
    pub fn cache_control(mut self, value: &str) -> Self {
        self.cache_control = Some(value.into());
        self
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Answers a request for a path within the directory.
    fn answer(&self, path: &str, request: &Request<'_>) -> Response {
        let document = match path {
            "" => self.documents.get("index.html"),
            dir if dir.ends_with('/') => self.documents.get(&*format!("{dir}index.html")),
            file => self.documents.get(file),
        };
        let Some(document) = document else {
            return Response::not_found();
        };
        let response = document.answer(request);
        match &self.cache_control {
            Some(value) if response.status() < 400 => {
                response.header("Cache-Control", value.to_string())
            }
            _ => response,
        }
    }
}

impl Router {
    /// Serves files below a path, such as `/assets`; `/` for all that no other
    /// route takes.
    #[must_use]
    pub fn files(self, path: &str, files: &Files) -> Self {
        let base = path.strip_suffix('/').unwrap_or(path);
        let (root, below) = (files.clone(), files.clone());
        self.get(&format!("{base}/"), move |request| root.answer("", request))
            .get(&format!("{base}/*path"), move |request| {
                below.answer(request.param("path").unwrap_or_default(), request)
            })
    }
}
