//! tonic's route guide: the four kinds of calls, by the official client and server, with the
//! failures that such a service has while it streams. (tonic 0.14.)

#[path = "../../support/mod.rs"]
mod support;

use std::{convert::Infallible, future::Future, pin::Pin, task};

use crumbtrail::tower::{ClientLayer, ServerLayer};
use http::{Request, Response, uri::PathAndQuery};
use prost::Message;
use support::{Pipeline, messages};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status, Streaming, body::Body, client, server, transport::Channel};
use tonic_prost::ProstCodec;
use tower::Layer as _;
use tracing::{debug, error, info};

#[derive(Clone, Copy, PartialEq, Message)]
struct Point {
    #[prost(int32, tag = "1")]
    latitude: i32,
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;
type Points = Pin<Box<dyn Stream<Item = Result<Point, Status>> + Send>>;

/// What `tonic-build` makes of four calls.
#[derive(Clone)]
struct RouteGuide;

impl server::NamedService for RouteGuide {
    const NAME: &'static str = "routeguide.RouteGuide";
}

#[derive(Debug, thiserror::Error)]
#[error("the map of {0} is torn")]
struct TornMap(i32);

impl server::UnaryService<Point> for RouteGuide {
    type Response = Point;
    type Future = Boxed<Point>;

    fn call(&mut self, request: tonic::Request<Point>) -> Self::Future {
        Box::pin(async move {
            debug!(latitude = request.get_ref().latitude, "looking up");
            match request.get_ref().latitude {
                // The cause is the status' source.
                90 => Err(Status::from_error(Box::new(TornMap(90)))),
                _ => Ok(tonic::Response::new(*request.get_ref())),
            }
        })
    }
}

impl server::ServerStreamingService<Point> for RouteGuide {
    type Response = Point;
    type ResponseStream = Points;
    type Future = Boxed<Points>;

    /// Up to a latitude. That of 2 fails, after the headers and two features have been sent.
    fn call(&mut self, request: tonic::Request<Point>) -> Self::Future {
        let features = tokio_stream::iter(0..request.into_inner().latitude).map(|latitude| {
            info!(latitude, "listing");
            if latitude == 2 {
                error!(error = &TornMap(2) as &dyn std::error::Error, "cannot list");
                return Err(Status::data_loss("torn"));
            }
            Ok(Point { latitude })
        });
        Box::pin(std::future::ready(Ok(tonic::Response::new(Box::pin(features) as Points))))
    }
}

impl server::ClientStreamingService<Point> for RouteGuide {
    type Response = Point;
    type Future = Boxed<Point>;

    fn call(&mut self, request: tonic::Request<Streaming<Point>>) -> Self::Future {
        Box::pin(async move {
            let (mut points, mut sum) = (request.into_inner(), 0);
            while let Some(point) = points.next().await {
                sum += point?.latitude;
                info!(sum, "recorded");
                assert!(sum < 100, "the route leaves the map");
            }
            Ok(tonic::Response::new(Point { latitude: sum }))
        })
    }
}

impl server::StreamingService<Point> for RouteGuide {
    type Response = Point;
    type ResponseStream = Points;
    type Future = Boxed<Points>;

    fn call(&mut self, request: tonic::Request<Streaming<Point>>) -> Self::Future {
        Box::pin(std::future::ready(Ok(tonic::Response::new(Box::pin(request.into_inner()) as Points))))
    }
}

impl tower::Service<Request<Body>> for RouteGuide {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = server::Grpc::new(ProstCodec::<Point, Point>::default());
            Ok(match request.uri().path() {
                "/routeguide.RouteGuide/GetFeature" => grpc.unary(RouteGuide, request).await,
                "/routeguide.RouteGuide/ListFeatures" => grpc.server_streaming(RouteGuide, request).await,
                "/routeguide.RouteGuide/RecordRoute" => grpc.client_streaming(RouteGuide, request).await,
                "/routeguide.RouteGuide/RouteChat" => grpc.streaming(RouteGuide, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

fn path(method: &'static str) -> PathAndQuery {
    format!("/routeguide.RouteGuide/{method}").parse().expect("a path")
}

fn points(latitudes: &'static [i32]) -> tonic::Request<impl Stream<Item = Point> + Send> {
    tonic::Request::new(tokio_stream::iter(latitudes).map(|latitude| Point { latitude: *latitude }))
}

async fn collected(stream: Result<tonic::Response<Streaming<Point>>, Status>) -> Vec<Result<i32, Code>> {
    let points = stream.expect("it begins").into_inner();
    points.map(|point| point.map(|point| point.latitude).map_err(|status| status.code())).collect().await
}

async fn drive() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tonic::transport::Server::builder().layer(ServerLayer::new()).add_service(RouteGuide);
    tokio::spawn(server.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URI").connect().await.expect("connected");
    let channel = ClientLayer::new().layer(channel);
    let mut client = client::Grpc::with_origin(channel, format!("http://{address}").parse().expect("a URI"));
    let codec = ProstCodec::<Point, Point>::default;

    client.ready().await.expect("ready");
    let feature = client.unary(tonic::Request::new(Point { latitude: 7 }), path("GetFeature"), codec()).await;
    assert_eq!(feature.expect("found").into_inner().latitude, 7);
    client.ready().await.expect("ready");
    let torn = client.unary(tonic::Request::new(Point { latitude: 90 }), path("GetFeature"), codec()).await;
    assert_eq!(torn.map(|_| ()).expect_err("torn").code(), Code::Unknown);
    // Until it has answered once, a method is not known to be one, and is `_OTHER`.
    for (up_to, expected) in [(1, vec![Ok(0)]), (5, vec![Ok(0), Ok(1), Err(Code::DataLoss)])] {
        client.ready().await.expect("ready");
        let listed = client.server_streaming(tonic::Request::new(Point { latitude: up_to }), path("ListFeatures"), codec()).await;
        assert_eq!(collected(listed).await, expected);
    }
    client.ready().await.expect("ready");
    let sum = client.client_streaming(points(&[1, 2, 3]), path("RecordRoute"), codec()).await;
    assert_eq!(sum.expect("recorded").into_inner().latitude, 6);
    client.ready().await.expect("ready");
    let left = client.client_streaming(points(&[60, 60]), path("RecordRoute"), codec()).await;
    assert_eq!(left.map(|_| ()).expect_err("it leaves the map").code(), Code::Internal);
    client.ready().await.expect("ready");
    let chat = client.streaming(points(&[4, 5]), path("RouteChat"), codec()).await;
    assert_eq!(collected(chat).await, [Ok(4), Ok(5)]);
}

#[test]
fn each_failing_call_is_one_exception_and_the_others_are_none() {
    let pipeline = Pipeline::installed();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(drive());
    drop(runtime);

    let received = pipeline.received();
    assert_eq!(received.exceptions().count(), 3, "{:#?}", received.exceptions().collect::<Vec<_>>());
    let unary = pipeline.exception("the map of 90 is torn");
    assert_eq!((unary.text("rpc.method"), messages(&unary)), ("routeguide.RouteGuide/GetFeature", vec!["looking up".to_owned()]));
    let listing = pipeline.exception("the map of 2 is torn");
    assert_eq!(
        (listing.text("exception.type"), listing.text("rpc.method")),
        ("route_guide::TornMap", "routeguide.RouteGuide/ListFeatures")
    );
    assert_eq!(messages(&listing), ["listing", "listing", "listing"], "what the stream has said, after the headers had gone");
    let panic = pipeline.exception("the route leaves the map");
    assert_eq!((panic.text("exception.type"), panic.text("rpc.method")), ("panic", "routeguide.RouteGuide/RecordRoute"));
    assert_eq!(messages(&panic), ["recorded", "recorded"]);

    // Both ends of a call are in one trace, and both know how it ended.
    let statuses = |kind: i32| {
        let mut spans: Vec<_> = received.spans.iter().filter(|span| span.kind == kind).collect();
        spans.sort_unstable_by_key(|span| span.start);
        spans
            .iter()
            .map(|span| (span.name.clone(), span.attributes["rpc.status_code"].to_string(), span.trace_id.clone()))
            .collect::<Vec<_>>()
    };
    let (server, client) = (statuses(2), statuses(3));
    assert_eq!(server, client);
    let codes: Vec<&str> = server.iter().map(|(_, code, _)| &**code).collect();
    assert_eq!(codes, ["OK", "UNKNOWN", "OK", "DATA_LOSS", "OK", "INTERNAL", "OK"]);
}
