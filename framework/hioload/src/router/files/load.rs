//! Reading a directory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use super::answer::Document;

/// Levels of directories that are read: more are a mistake.
const DEPTH: usize = 32;

/// Static files could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files are more than may be kept in memory.
    #[error(
        "with {} the files exceed {most} bytes; serve large files from elsewhere, \
         or allow more with Files::load_up_to", path.display()
    )]
    TooLarge {
        /// The file that was too much.
        path: PathBuf,
        /// The bytes allowed.
        most: u64,
    },
    /// Directories are nested too deep.
    #[error("{} is more than {DEPTH} directories deep", path.display())]
    TooDeep {
        /// The directory.
        path: PathBuf,
    },
}

struct Loading {
    /// Resolved, so that what links lead to can be compared with it.
    root: PathBuf,
    left: u64,
    most: u64,
    documents: HashMap<Box<str>, Document>,
}

/// The documents of a directory, by their path within it.
pub(super) fn directory(dir: &Path, most: u64) -> Result<HashMap<Box<str>, Document>, FilesError> {
    let root = fs::canonicalize(dir).map_err(cannot_read(dir))?;
    let mut loading = Loading {
        left: most,
        most,
        documents: HashMap::new(),
        root: root.clone(),
    };
    loading.walk(&root, "", 0)?;
    Ok(loading.documents)
}

fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    |source| FilesError::Read { path, source }
}

impl Loading {
    fn walk(&mut self, dir: &Path, name: &str, depth: usize) -> Result<(), FilesError> {
        if depth > DEPTH {
            return Err(FilesError::TooDeep { path: dir.into() });
        }
        for entry in fs::read_dir(dir).map_err(cannot_read(dir))? {
            let entry = entry.map_err(cannot_read(dir))?;
            let path = entry.path();
            let file_name = entry.file_name();
            let Some(own) = file_name.to_str() else {
                tracing::warn!(?path, "not served: its name is not UTF-8");
                continue;
            };
            if own.starts_with('.') && own != ".well-known" {
                continue;
            }
            let kind = entry.file_type().map_err(cannot_read(&path))?;
            let name = format!("{name}{own}");
            if kind.is_dir() {
                self.walk(&path, &format!("{name}/"), depth + 1)?;
            } else if kind.is_file() {
                self.read(&path, name)?;
            } else if kind.is_symlink() {
                match self.resolve(&path) {
                    Some(target) => self.read(&target, name)?,
                    None => tracing::warn!(?path, "not served: no link to a file in here"),
                }
            }
        }
        Ok(())
    }

    /// What a link leads to, if that is a file within the directory.
    fn resolve(&self, link: &Path) -> Option<PathBuf> {
        let target = fs::canonicalize(link).ok()?;
        (target.starts_with(&self.root) && target.is_file()).then_some(target)
    }

    fn read(&mut self, path: &Path, name: String) -> Result<(), FilesError> {
        let failed = || cannot_read(path);
        let file = File::open(path).map_err(failed())?;
        let about = file.metadata().map_err(failed())?;
        let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let mut bytes = Vec::new();
        // It may grow while it is read.
        let read = file
            .take(self.left.saturating_add(1))
            .read_to_end(&mut bytes);
        let read = read.map_err(failed())? as u64;
        let Some(left) = self.left.checked_sub(read) else {
            return Err(FilesError::TooLarge {
                path: path.into(),
                most: self.most,
            });
        };
        self.left = left;
        let document = Document::new(&name, bytes, modified);
        self.documents.insert(name.into(), document);
        Ok(())
    }
}
