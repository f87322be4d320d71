//! The two listeners, on one thread.

use std::{
    future::Future,
    io::Read as _,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use prost::Message;
use serde::de::DeserializeOwned;
use tonic::{Code, Request, Status, codec::CompressionEncoding};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{Answer, Arrival, Received, Shared};

/// Binds both ports, then serves until `stopped`.
pub(crate) fn spawn(shared: Arc<Shared>, stopped: tokio::sync::oneshot::Receiver<()>) -> std::io::Result<(SocketAddr, SocketAddr)> {
    let http = TcpListener::bind("127.0.0.1:0")?;
    let grpc = TcpListener::bind("127.0.0.1:0")?;
    let addresses = (http.local_addr()?, grpc.local_addr()?);
    http.set_nonblocking(true)?;
    grpc.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("otlp-receiver".to_owned()).spawn(move || {
        runtime.block_on(async move {
            tokio::select! {
                _ = stopped => {}
                outcome = serve_http(http, shared.clone()) => eprintln!("the receiver's HTTP server ended: {outcome:?}"),
                outcome = serve_grpc(grpc, shared) => eprintln!("the receiver's gRPC server ended: {outcome:?}"),
            }
        });
    })?;
    Ok(addresses)
}

async fn serve_http(listener: TcpListener, shared: Arc<Shared>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/logs", post(take::<ExportLogsServiceRequest>))
        .route("/v1/traces", post(take::<ExportTraceServiceRequest>))
        .route("/v1/metrics", post(take::<ExportMetricsServiceRequest>))
        .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
        .with_state(shared);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}

async fn serve_grpc(listener: TcpListener, shared: Arc<Shared>) -> Result<(), Box<dyn std::error::Error>> {
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    let service = Grpc(shared);
    // Without the feature gzip is named twice, which changes nothing.
    let gzip = CompressionEncoding::Gzip;
    #[cfg(feature = "zstd")]
    let zstd = CompressionEncoding::Zstd;
    #[cfg(not(feature = "zstd"))]
    let zstd = gzip;
    tonic::transport::Server::builder()
        .add_service(LogsServiceServer::new(service.clone()).accept_compressed(gzip).accept_compressed(zstd))
        .add_service(TraceServiceServer::new(service.clone()).accept_compressed(gzip).accept_compressed(zstd))
        .add_service(MetricsServiceServer::new(service).accept_compressed(gzip).accept_compressed(zstd))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// One of the three requests.
trait Export: Message + Default + DeserializeOwned {
    const SIGNAL: &'static str;

    fn add(self, received: &mut Received);
}

impl Export for ExportLogsServiceRequest {
    const SIGNAL: &'static str = "logs";

    fn add(self, received: &mut Received) {
        received.add_logs(self);
    }
}

impl Export for ExportTraceServiceRequest {
    const SIGNAL: &'static str = "traces";

    fn add(self, received: &mut Received) {
        received.add_traces(self);
    }
}

impl Export for ExportMetricsServiceRequest {
    const SIGNAL: &'static str = "metrics";

    fn add(self, received: &mut Received) {
        received.add_metrics(self);
    }
}

impl Shared {
    /// What the script says, and the content to keep if it says so.
    fn decide<T: Export>(&self, request: T, headers: &HeaderMap, grpc: bool, bytes: usize) -> (Answer, Received) {
        let mut content = Received { largest_request: bytes, ..Received::default() };
        request.add(&mut content);
        let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let arrival = Arrival { at: Instant::now(), grpc, signal: T::SIGNAL, headers, bytes, content: content.clone() };
        (self.judge(arrival), content)
    }

    fn keep(&self, content: Received) {
        self.add(|received| received.merge(content));
    }
}

async fn take<T: Export>(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(plain) = decompressed(&headers, &body) else { return StatusCode::BAD_REQUEST.into_response() };
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let request = if json { serde_json::from_slice(&plain).ok() } else { T::decode(&*plain).ok() };
    let Some(request) = request else { return StatusCode::BAD_REQUEST.into_response() };
    let (answer, content) = shared.decide::<T>(request, &headers, false, plain.len());
    http_answer(shared, answer, content, json).await
}

fn http_answer(shared: Arc<Shared>, answer: Answer, content: Received, json: bool) -> Pin<Box<dyn Future<Output = Response> + Send>> {
    Box::pin(async move {
        let kind = if json { "application/json" } else { "application/x-protobuf" };
        match answer {
            Answer::Accept => {
                shared.keep(content);
                ([(header::CONTENT_TYPE, kind)], if json { Bytes::from_static(b"{}") } else { Bytes::new() }).into_response()
            }
            Answer::Partial { rejected, message } => {
                shared.keep(content);
                let body = if json {
                    serde_json::json!({ "partialSuccess": { "rejectedLogRecords": rejected.to_string(), "errorMessage": message } })
                        .to_string()
                        .into()
                } else {
                    partial(rejected, message).encode_to_vec()
                };
                ([(header::CONTENT_TYPE, kind)], body).into_response()
            }
            Answer::Status { status, headers } => {
                let mut response = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT).into_response();
                for (name, value) in headers {
                    if let (Ok(name), Ok(value)) = (header::HeaderName::from_bytes(name.as_bytes()), value.parse()) {
                        response.headers_mut().insert(name, value);
                    }
                }
                response
            }
            Answer::Code { .. } => StatusCode::NOT_IMPLEMENTED.into_response(),
            Answer::KeepAndHang => {
                shared.keep(content);
                std::future::pending().await
            }
            Answer::After(pause, answer) => {
                tokio::time::sleep(pause).await;
                http_answer(shared, *answer, content, json).await
            }
            Answer::Endless => {
                shared.keep(content);
                let endless = tokio_stream::iter(std::iter::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 65_536]))));
                Response::new(Body::from_stream(endless))
            }
            Answer::StalledBody => {
                shared.keep(content);
                let begins = tokio_stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"\x0a"))]);
                Response::new(Body::from_stream(tokio_stream::StreamExt::chain(begins, tokio_stream::pending())))
            }
        }
    })
}

fn decompressed(headers: &HeaderMap, body: &Bytes) -> Option<Vec<u8>> {
    const LIMIT: usize = 64 << 20;
    match headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes()) {
        Some(b"gzip") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&**body).take(LIMIT as u64).read_to_end(&mut plain).ok()?;
            Some(plain)
        }
        #[cfg(feature = "zstd")]
        Some(b"zstd") => zstd::bulk::decompress(body, LIMIT).ok(),
        _ => Some(body.to_vec()),
    }
}

/// All three responses have this shape.
fn partial(rejected: i64, message: String) -> ExportLogsServiceResponse {
    ExportLogsServiceResponse { partial_success: Some(ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message }) }
}

#[derive(Clone)]
struct Grpc(Arc<Shared>);

impl Grpc {
    async fn take<T: Export, R: Message + Default>(&self, request: Request<T>) -> Result<tonic::Response<R>, Status> {
        let headers = request.metadata().clone().into_headers();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let (mut answer, content) = self.0.decide(request, &headers, true, bytes);
        loop {
            answer = match answer {
                Answer::After(pause, answer) => {
                    tokio::time::sleep(pause).await;
                    *answer
                }
                Answer::Accept => {
                    self.0.keep(content);
                    return Ok(tonic::Response::new(R::default()));
                }
                Answer::Partial { rejected, message } => {
                    self.0.keep(content);
                    let encoded = partial(rejected, message).encode_to_vec();
                    return Ok(tonic::Response::new(R::decode(&*encoded).unwrap_or_default()));
                }
                Answer::Code { code, retry_after } => return Err(status(Code::from_i32(code), retry_after)),
                Answer::KeepAndHang => {
                    self.0.keep(content);
                    return std::future::pending().await;
                }
                Answer::Status { .. } | Answer::Endless | Answer::StalledBody => {
                    return Err(Status::unimplemented("an answer for HTTP only"));
                }
            };
        }
    }
}

fn status(code: Code, retry_after: Option<Duration>) -> Status {
    match retry_after {
        Some(delay) => Status::with_error_details(code, "as scripted", ErrorDetails::with_retry_info(Some(delay))),
        None => Status::new(code, "as scripted"),
    }
}

#[tonic::async_trait]
impl LogsService for Grpc {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.take(request).await
    }
}

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.take(request).await
    }
}

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.take(request).await
    }
}
