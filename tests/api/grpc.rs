//! Both layers around tonic: the conventions for RPC, unary and streaming, by the official client
//! and server.

use std::convert::Infallible;

use crate::support::{PATIENCE, Pipeline};
use crumbtrail::tower::{ClientLayer, ServerLayer};
use crumbtrail_receiver::Span;
use http::{Request, Response, uri::PathAndQuery};
use prost::Message;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status, body::Body, client, server, transport::Channel};
use tonic_prost::ProstCodec;
use tower::{Layer as _, Service};
use tracing::{error, info, info_span};

#[derive(Clone, PartialEq, Message)]
struct Item {
    #[prost(uint64, tag = "1")]
    id: u64,
}

/// What `tonic-build` would make of `service Stock { rpc Check(Item) returns (Item); rpc
/// Watch(Item) returns (stream Item); }`.
#[derive(Clone)]
struct Stock;

impl server::NamedService for Stock {
    const NAME: &'static str = "shop.Stock";
}

struct Check;

impl server::UnaryService<Item> for Check {
    type Response = Item;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<tonic::Response<Item>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Item>) -> Self::Future {
        Box::pin(async move {
            let item = request.into_inner();
            info!(item.id, "checking");
            match item.id {
                0 => Err(Status::not_found("no such item")),
                13 => {
                    error!("shelf 13 collapsed");
                    Err(Status::internal("shelf"))
                }
                14 => Err(Status::unavailable("closed")),
                15 => panic!("shelf 15 exploded"),
                _ => Ok(tonic::Response::new(item)),
            }
        })
    }
}

struct Watch;

impl server::ServerStreamingService<Item> for Watch {
    type Response = Item;
    type ResponseStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<Item, Status>> + Send>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<Item>) -> Self::Future {
        let items = (1..=3).map(|id| Ok(Item { id })).chain([Err(Status::data_loss("torn"))]);
        std::future::ready(Ok(tonic::Response::new(Box::pin(tokio_stream::iter(items)))))
    }
}

impl Service<Request<Body>> for Stock {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = server::Grpc::new(ProstCodec::<Item, Item>::default());
            Ok(match request.uri().path() {
                "/shop.Stock/Check" => grpc.unary(Check, request).await,
                "/shop.Stock/Watch" => grpc.server_streaming(Watch, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

type Traced = crumbtrail::tower::ClientService<Channel>;

async fn check(client: &mut client::Grpc<Traced>, id: u64, path: &'static str) -> Result<u64, Code> {
    client.ready().await.expect("connected");
    let answer = client.unary(tonic::Request::new(Item { id }), PathAndQuery::from_static(path), ProstCodec::<Item, Item>::default()).await;
    answer.map(|answer| answer.into_inner().id).map_err(|status| status.code())
}

/// A client of a service that runs until the end of the test's runtime.
async fn served() -> client::Grpc<Traced> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(ServerLayer::new())
        .add_service(Stock)
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    tokio::spawn(server);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    client::Grpc::with_origin(ClientLayer::new().layer(channel), format!("http://{address}").parse().unwrap())
}

#[test]
fn calls_follow_the_conventions_at_both_ends() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let work = async {
        let mut client = served().await;

        let order = info_span!("order");
        tracing::Instrument::instrument(
            async {
                assert_eq!(check(&mut client, 7, "/shop.Stock/Check").await, Ok(7));
                assert_eq!(check(&mut client, 0, "/shop.Stock/Check").await, Err(Code::NotFound));
                assert_eq!(check(&mut client, 13, "/shop.Stock/Check").await, Err(Code::Internal));
                assert_eq!(check(&mut client, 14, "/shop.Stock/Check").await, Err(Code::Unavailable));
                assert_eq!(check(&mut client, 1, "/shop.Stock/Guess1").await, Err(Code::Unimplemented));
                assert_eq!(check(&mut client, 1, "/shop.Stock/Guess2").await, Err(Code::Unimplemented));
                client.ready().await.unwrap();
                let path = PathAndQuery::from_static("/shop.Stock/Watch");
                let codec = ProstCodec::<Item, Item>::default();
                let mut items = client.server_streaming(tonic::Request::new(Item { id: 1 }), path, codec).await.unwrap().into_inner();
                let mut seen = Vec::new();
                while let Some(item) = items.next().await {
                    seen.push(item.map(|item| item.id).map_err(|status| status.code()));
                }
                assert_eq!(seen, [Ok(1), Ok(2), Ok(3), Err(Code::DataLoss)]);
                error!("gave up");
            },
            order,
        )
        .await;
    };
    pipeline.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work));

    let received = pipeline.received();
    let calls = |kind: i32| -> Vec<&Span> {
        let mut found: Vec<_> = received.spans.iter().filter(|span| span.kind == kind).collect();
        found.sort_by_key(|span| span.start);
        found
    };
    let (served, called) = (calls(2), calls(3));
    assert_eq!((served.len(), called.len()), (7, 7));
    let text = |span: &Span, key: &str| span.attributes.get(key).map(ToString::to_string).unwrap_or_default();
    for (server, client) in served.iter().zip(&called) {
        assert_eq!((&server.trace_id, &server.parent_span_id), (&client.trace_id, &client.span_id));
        assert!(client.name.starts_with("shop.Stock/") && text(client, "rpc.method") == client.name);
        if client.name.contains("Guess") {
            // Report C5: what no service knows is no name.
            assert_eq!((server.name.as_str(), text(server, "rpc.method")), ("grpc", "_OTHER".to_owned()));
            assert_eq!(text(server, "rpc.method_original"), client.name);
        } else {
            assert_eq!((&server.name, &text(server, "rpc.method")), (&client.name, &client.name));
        }
        assert_eq!((text(server, "rpc.system.name"), text(client, "server.address")), ("grpc".into(), "127.0.0.1".into()));
        assert!(!server.attributes.contains_key("http.request.method"));
    }
    let statuses: Vec<String> = served.iter().map(|span| text(span, "rpc.status_code")).collect();
    assert_eq!(statuses, ["OK", "NOT_FOUND", "INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED", "UNIMPLEMENTED", "DATA_LOSS"]);
    let client_statuses: Vec<String> = called.iter().map(|span| text(span, "rpc.status_code")).collect();
    assert_eq!(client_statuses, statuses);
    assert_eq!(
        served.iter().map(|span| span.status.0).collect::<Vec<_>>(),
        [0, 0, 2, 2, 2, 2, 2],
        "a server is not to blame for what is not there"
    );
    assert_eq!(called.iter().map(|span| span.status.0).collect::<Vec<_>>(), [0, 2, 2, 2, 2, 2, 2]);

    // Report C14: what a status says besides its code.
    assert_eq!(served[3].status.1, "closed");
    assert_eq!(called[0].status.1, "");
    assert_eq!(called[1].status.1, "no such item");
    let mut told: Vec<&str> = received.exceptions().map(|one| one.text("exception.message")).collect();
    told.sort_unstable();
    let expected =
        ["gave up", "shelf 13 collapsed", "shop.Stock/Check answered UNAVAILABLE: closed", "shop.Stock/Watch answered DATA_LOSS: torn"];
    assert_eq!(told, expected, "what is explained is told once; what is not there is no defect");

    let exception = received.exceptions().find(|one| one.body == "gave up").unwrap();
    let crumbs = crate::support::breadcrumbs(exception);
    let rpc: Vec<&str> = crumbs.iter().filter(|crumb| crumb["category"] == "rpc").map(|crumb| crumb["message"].as_str().unwrap()).collect();
    assert_eq!(rpc.len(), 7);
    assert_eq!(rpc[2], "127.0.0.1 shop.Stock/Check → INTERNAL");

    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric("rpc.server.call.duration").is_some()).unwrap();
    let points = &received.metric("rpc.server.call.duration").unwrap().points;
    assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 7);
    let unknown: Vec<_> = points.iter().filter(|point| point.attributes["rpc.method"].as_str() == "_OTHER").collect();
    assert_eq!((unknown.len(), unknown[0].count), (1, 2), "methods that are not there are one series");
    assert_eq!(received.metric("rpc.client.call.duration").unwrap().points.iter().map(|point| point.count).sum::<u64>(), 7);
}

/// Report C5: a handler panics. Whoever calls gets a status of gRPC's.
#[test]
fn a_panic_is_an_internal_error() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let work = async {
        let mut client = served().await;
        assert_eq!(check(&mut client, 15, "/shop.Stock/Check").await, Err(Code::Internal));
    };
    pipeline.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work));
    let received = pipeline.received();
    assert_eq!(received.spans.len(), 2);
    for span in &received.spans {
        assert_eq!(
            (span.name.as_str(), span.attributes["rpc.status_code"].as_str(), span.status.0),
            ("shop.Stock/Check", "INTERNAL", 2),
            "{span:#?}"
        );
    }
    assert_eq!(pipeline.exceptions("shelf 15 exploded").len(), 1);
    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric("rpc.server.call.duration").is_some()).unwrap();
    let attributes = &received.metric("rpc.server.call.duration").unwrap().points[0].attributes;
    assert_eq!((attributes["rpc.method"].as_str(), attributes["rpc.status_code"].as_str()), ("shop.Stock/Check", "INTERNAL"));
}
