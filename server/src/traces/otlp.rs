//! Spans of sampled connections, to an OpenTelemetry collector.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::bridge;
use crate::config::SettingsError;
use crate::log::AnyLayer;

/// How long the end of the server waits for the last spans to be taken.
const LAST: Duration = Duration::from_secs(5);

/// How long the collector may take for a batch, as the OpenTelemetry specification
/// has it.
const POST: Duration = Duration::from_secs(10);

/// The spans' way out.
pub(crate) struct Traces {
    endpoint: String,
    processor: Late,
    provider: SdkTracerProvider,
}

impl Traces {
    /// Exports to `endpoint`, if there is one; the layer takes the spans.
    pub(crate) fn new(
        endpoint: Option<&str>,
    ) -> Result<(Option<Self>, Option<AnyLayer>), SettingsError> {
        let Some(endpoint) = endpoint else {
            return Ok((None, None));
        };
        let processor = Late::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor.clone())
            .with_resource(resource())
            .build();
        let spans = Targets::new().with_target("hioload::connection", LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("hioload"))
            .with_filter(spans)
            .boxed();
        let traces = Self {
            endpoint: endpoint.to_owned(),
            processor,
            provider,
        };
        Ok((Some(traces), Some(layer)))
    }

    /// Begins to export, on threads of its own: they must not exist before the
    /// signals are held back, which would end the process there.
    pub(crate) fn begin(&self) {
        match self.exporter() {
            Ok(exporter) => {
                let mut processor = BatchSpanProcessor::builder(exporter).build();
                processor.set_resource(&resource());
                // Begun once.
                let _first = self.processor.0.set(processor);
            }
            Err(error) => tracing::error!(
                endpoint = self.endpoint, %error,
                "connections are not traced to the collector"
            ),
        }
    }

    fn exporter(&self) -> Result<SpanExporter, Box<dyn Error>> {
        Ok(SpanExporter::builder()
            .with_http()
            .with_http_client(self.client()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&self.endpoint)
            .build()?)
    }

    fn client(&self) -> Result<Client, reqwest::Error> {
        bridge::provide_crypto();
        let mut client = Client::builder().redirect(Policy::none()).timeout(POST);
        if !self.endpoint.starts_with("https:") {
            // Nobody's certificate is looked at, so there need not be any.
            client = client.tls_certs_only([]);
        }
        client.build()
    }

    /// Hands over what is left.
    pub(crate) fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

fn resource() -> Resource {
    Resource::builder()
        .with_service_name("hioload-server")
        .build()
}

/// A processor that comes later; what ends before is not exported.
#[derive(Clone, Debug, Default)]
struct Late(Arc<OnceLock<BatchSpanProcessor>>);

impl SpanProcessor for Late {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        if let Some(processor) = self.0.get() {
            processor.on_start(span, cx);
        }
    }

    fn on_end(&self, span: SpanData) {
        if let Some(processor) = self.0.get() {
            processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.get().map_or(Ok(()), SpanProcessor::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let shutdown = |processor: &BatchSpanProcessor| processor.shutdown_with_timeout(timeout);
        self.0.get().map_or(Ok(()), shutdown)
    }
}
