//! The service around a service. Comes in: a request of actix-web's. Goes out: its exchange, from a
//! head as the rest of crumbtrail reads it; and the answer, in its span.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
};

use super::{Config, ObservedBody, answer};
use crate::tower::{self, Known, Route, observe_panic};

/// Another of these is around it.
struct Seen;

/// Made by [`Middleware`](super::Middleware).
pub struct Observed<S> {
    inner: Rc<S>,
    config: Arc<Config>,
}

impl<S> Observed<S> {
    pub(super) fn new(inner: Rc<S>, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S> fmt::Debug for Observed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

impl<S, B> Service<ServiceRequest> for Observed<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<ObservedBody<B>>;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (inner, config) = (self.inner.clone(), self.config.clone());
        // A scope within an app: one request is observed once, by the outermost.
        if request.extensions().get::<Seen>().is_some() {
            return Box::pin(async move { Ok(unobserved(inner.call(request).await?)) });
        }
        request.extensions_mut().insert(Seen);
        let head = head(&request);
        let known = Known { route: request.match_pattern().map(Route::Owned), is_https: request.app_config().secure() };
        let Some(exchange) = tower::begin(&config.server, &head, Some(known)) else {
            let Some(passing) = tower::passing(&config.server, &head) else {
                return Box::pin(async move { Ok(unobserved(inner.call(request).await?)) });
            };
            return Box::pin(async move {
                let mut answer = pin!(passing.in_scope(|| inner.call(request)));
                Ok(unobserved(poll_fn(|context| passing.in_scope(|| answer.as_mut().poll(context))).await?))
            });
        };
        if let Some(user) = config.user.as_ref().and_then(|user| user(&request)) {
            exchange.enter(|| crate::set_user(user));
        }
        Box::pin(async move {
            // A service may do its work, and panic, before there is a future.
            let begun = match observe_panic(|| exchange.enter(|| inner.call(request))) {
                Ok(begun) => begun,
                Err(panicked) => return answer::panicked(panicked, exchange, &config),
            };
            let mut begun = pin!(Some(begun));
            let outcome = poll_fn(|context| {
                let polled = observe_panic(|| {
                    exchange.enter(|| {
                        let Some(running) = begun.as_mut().as_pin_mut() else { return Poll::Pending };
                        let outcome = running.poll(context);
                        if outcome.is_ready() {
                            // What the handler holds is let go of in its span.
                            begun.set(None);
                        }
                        outcome
                    })
                });
                match polled {
                    Ok(outcome) => outcome.map(Ok),
                    Err(panicked) => Poll::Ready(Err(panicked)),
                }
            })
            .await;
            match outcome {
                Ok(Ok(response)) => Ok(answer::answered(response, exchange, &config)),
                Ok(Err(error)) => Err(answer::failed(error, exchange, &config)),
                Err(panicked) => answer::panicked(panicked, exchange, &config),
            }
        })
    }
}

fn unobserved<B>(response: ServiceResponse<B>) -> ServiceResponse<ObservedBody<B>> {
    response.map_body(|_, body| ObservedBody::new(body, None))
}

/// The head, in the types of the `http` crate that the rest of Rust's servers have come to.
fn head(request: &ServiceRequest) -> http::Request<()> {
    let mut head = http::Request::new(());
    *head.method_mut() = request.method().as_str().parse().unwrap_or_default();
    *head.uri_mut() = request.uri().to_string().parse().unwrap_or_default();
    *head.version_mut() = version(request.version());
    for (name, value) in request.headers() {
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(name.as_ref()), http::HeaderValue::from_bytes(value.as_bytes())) {
            head.headers_mut().append(name, value);
        }
    }
    head
}

fn version(version: actix_web::http::Version) -> http::Version {
    use actix_web::http::Version;
    match version {
        Version::HTTP_09 => http::Version::HTTP_09,
        Version::HTTP_10 => http::Version::HTTP_10,
        Version::HTTP_2 => http::Version::HTTP_2,
        Version::HTTP_3 => http::Version::HTTP_3,
        _ => http::Version::HTTP_11,
    }
}
