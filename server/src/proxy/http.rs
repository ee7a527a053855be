//! Requests to the application over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};
use thiserror::Error;

use super::call::Transport;
use super::failure::Failure;
use super::wire::Letter;
use crate::config::{Application, Event};

/// Names the event: several may go to one endpoint.
const EVENT: &str = "X-Hioload-Event";

/// The same in all requests about one event, so that the application can tell a
/// repeated one.
const ID: &str = "Idempotency-Key";

/// How long a connection without requests is kept.
const IDLE: Duration = Duration::from_secs(60);

/// Requests to an application's endpoints can not be made at all.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error("cannot read the authorities of [[application]] {name:?} from {}: {cause}", path.display())]
    Authorities {
        name: String,
        path: PathBuf,
        cause: String,
    },
    #[error("no request can be made to [[application]] {name:?}: {cause}")]
    Client { name: String, cause: String },
}

/// The way to an application's endpoints.
pub(super) struct Http {
    client: Client,
    endpoints: Vec<Urls>,
    max_response: usize,
}

struct Urls {
    /// By the place of their events in [`Event::ALL`].
    events: Vec<Url>,
    health: Option<Url>,
}

impl Http {
    pub(super) fn new(settings: &Application) -> Result<Self, StartError> {
        let urls = |address: &crate::config::Address| {
            let events: Option<Vec<Url>> = Event::ALL.iter().map(|one| address.of(*one)).collect();
            let health = Some(&*settings.health_path).filter(|path| !path.is_empty());
            Some(Urls {
                events: events?,
                health: health.and_then(|path| address.at(path)),
            })
        };
        let endpoints: Option<Vec<Urls>> = settings.endpoints.iter().map(urls).collect();
        let fails = |cause: String| StartError::Client {
            name: settings.name.clone(),
            cause,
        };
        let endpoints = endpoints.ok_or_else(|| fails("an endpoint is no address".to_owned()))?;
        let needs_tls = |urls: &Urls| urls.events.iter().any(|url| url.scheme() == "https");
        let tls = tls(settings, endpoints.iter().any(needs_tls))?;
        // Nothing but what the settings name is asked.
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.timeout())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.max_in_flight)
            .build()
            .map_err(|error| fails(error.to_string()))?;
        Ok(Self {
            client,
            endpoints,
            max_response: settings.max_response,
        })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > self.max_response {
                return Err(Failure::TooBig);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl Transport for Http {
    async fn post(&self, endpoint: usize, letter: &Letter) -> Result<Vec<u8>, Failure> {
        let place = Event::ALL.iter().position(|one| *one == letter.event);
        let url = place.and_then(|place| self.endpoints[endpoint].events.get(place));
        let url = url.cloned().ok_or(Failure::Unavailable)?;
        let mut headers = HeaderMap::new();
        for (name, value) in letter.headers.iter().flat_map(|headers| headers.iter()) {
            let name = HeaderName::from_bytes(name.as_bytes());
            // What a client's request could carry, another one can.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        let request = self
            .client
            .post(url)
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .header(EVENT, letter.event.name())
            .header(ID, letter.id.to_string())
            .body(letter.body.clone());
        let response = request.send().await.map_err(|error| failure(&error))?;
        match response.status().as_u16() {
            200 => self.body(response).await,
            other => Err(Failure::Status(other)),
        }
    }

    async fn look(&self, endpoint: usize) -> bool {
        let Some(url) = self.endpoints[endpoint].health.clone() else {
            return true;
        };
        let response = self.client.get(url).send().await;
        response.is_ok_and(|response| response.status().is_success())
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Connection
    }
}

/// Whose certificates are believed: nobody's, where none is asked for.
fn tls(settings: &Application, is_needed: bool) -> Result<ClientConfig, StartError> {
    let mut roots = RootCertStore::empty();
    if is_needed {
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if !settings.ca.as_os_str().is_empty() {
            add(&mut roots, &settings.ca).map_err(|cause| StartError::Authorities {
                name: settings.name.clone(),
                path: settings.ca.clone(),
                cause,
            })?;
        }
        if roots.is_empty() {
            tracing::warn!(
                application = settings.name,
                "no authority is known whose certificates could be believed; https fails"
            );
        }
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Client {
            name: settings.name.clone(),
            cause: error.to_string(),
        })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let all = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let mut count = 0;
    for certificate in all {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 {
        return Err("no certificate is in it".to_owned());
    }
    Ok(())
}
