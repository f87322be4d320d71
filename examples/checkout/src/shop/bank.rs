//! The bank, behind gRPC. (What `tonic-build` would generate is written by hand, so that the
//! example needs no `protoc`.)

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::{Request, Response, uri::PathAndQuery};
use crumbtrail::tower::{ClientLayer, ServerLayer};
use prost::Message;
use tonic::{Status, body::Body, transport::Channel};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};
use tracing::{debug, warn};

const METHOD: &str = "/bank.Bank/Limit";

#[derive(Clone, PartialEq, Message)]
struct Card {
    #[prost(string, tag = "1")]
    number: String,
}

#[derive(Clone, PartialEq, Message)]
struct Limit {
    /// As the bank writes it.
    #[prost(string, tag = "1")]
    text: String,
}

/// Starts the bank's server.
pub(super) async fn open() -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tonic::transport::Server::builder()
        .layer(ServerLayer::new())
        .add_service(Counter)
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let server = async move {
        if let Err(error) = server.await {
            warn!(%error, "the bank ended");
        }
    };
    Ok((address, tokio::spawn(server)))
}

/// The bank, from outside.
#[derive(Clone)]
pub(super) struct Bank {
    client: tonic::client::Grpc<crumbtrail::tower::ClientService<Channel>>,
}

impl Bank {
    pub(super) fn at(address: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let channel = Channel::from_shared(format!("http://{address}"))?.connect_lazy();
        let client = tonic::client::Grpc::with_origin(ClientLayer::new().layer(channel), format!("http://{address}").parse()?);
        Ok(Self { client })
    }

    /// What the bank says of a card's limit.
    pub(super) async fn limit(&mut self, card: &str) -> Result<String, Status> {
        self.client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let card = tonic::Request::new(Card { number: card.to_owned() });
        let codec = ProstCodec::<Card, Limit>::default();
        Ok(self.client.unary(card, PathAndQuery::from_static(METHOD), codec).await?.into_inner().text)
    }
}

/// Who answers in the bank.
#[derive(Clone)]
struct Counter;

impl tonic::server::NamedService for Counter {
    const NAME: &'static str = "bank.Bank";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tonic::server::UnaryService<Card> for Counter {
    type Response = Limit;
    type Future = Answer<Result<tonic::Response<Limit>, Status>>;

    fn call(&mut self, request: tonic::Request<Card>) -> Self::Future {
        Box::pin(async move {
            debug!("looking the card up");
            // The bank writes a dash where a card has no limit; nobody had told.
            let text = if request.into_inner().number.ends_with("13") { "-" } else { "5000" };
            Ok(tonic::Response::new(Limit { text: text.to_owned() }))
        })
    }
}

impl Service<Request<Body>> for Counter {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                METHOD => tonic::server::Grpc::new(ProstCodec::<Limit, Card>::default()).unary(Counter, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}
