//! The two listeners, on one thread.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
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
use tonic::{Request, Status, codec::CompressionEncoding};

use crate::{Received, Shared};

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
        .route("/v1/logs", post(logs))
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
        .with_state(shared);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}

async fn serve_grpc(listener: TcpListener, shared: Arc<Shared>) -> Result<(), Box<dyn std::error::Error>> {
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    let service = Grpc(shared);
    tonic::transport::Server::builder()
        .add_service(LogsServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip))
        .add_service(TraceServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip))
        .add_service(MetricsServiceServer::new(service).accept_compressed(CompressionEncoding::Gzip))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

async fn logs(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    take(&shared, &headers, &body, |request: ExportLogsServiceRequest, received| received.add_logs(request))
}

async fn traces(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    take(&shared, &headers, &body, |request: ExportTraceServiceRequest, received| received.add_traces(request))
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    take(&shared, &headers, &body, |request: ExportMetricsServiceRequest, received| received.add_metrics(request))
}

fn take<T: Message + Default>(shared: &Shared, headers: &HeaderMap, body: &[u8], add: impl FnOnce(T, &mut Received)) -> Response {
    if let Some(status) = shared.status() {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT).into_response();
    }
    let plain = if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        if flate2::read::GzDecoder::new(body).take(64 << 20).read_to_end(&mut plain).is_err() {
            return StatusCode::BAD_REQUEST.into_response();
        }
        plain
    } else {
        body.to_vec()
    };
    match T::decode(&*plain) {
        Ok(request) => {
            shared.add(|received| {
                received.largest_request = received.largest_request.max(plain.len());
                add(request, received);
            });
            ([(header::CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
        }
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

#[derive(Clone)]
struct Grpc(Arc<Shared>);

#[tonic::async_trait]
impl LogsService for Grpc {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.0.add(|received| received.add_logs(request.into_inner()));
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.0.add(|received| received.add_traces(request.into_inner()));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.0.add(|received| received.add_metrics(request.into_inner()));
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}
