//! Middleware for actix-web 4: what [`ServerLayer`](crate::tower::ServerLayer) is to tower.
//!
//! ```no_run
//! use actix_web::{App, HttpServer, web};
//!
//! # async fn run() -> std::io::Result<()> {
//! HttpServer::new(|| {
//!     App::new()
//!         .route("/cart/{id}", web::get().to(|id: web::Path<u64>| async move { format!("cart {id}") }))
//!         // Last: outermost.
//!         .wrap(crumbtrail::actix_web::Middleware::new())
//! })
//! .bind(("127.0.0.1", 8080))?
//! .run()
//! .await
//! # }
//! ```
//!
//! Without an installed crumbtrail it passes requests through.

mod answer;
mod body;
mod service;

use std::{error::Error, fmt, rc::Rc, sync::Arc};

use actix_web::{
    Error as ActixError,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::header::HeaderName,
};

pub use self::{body::ObservedBody, service::Observed};
use crate::{User, tower::ServerConfig};

/// Spans, exceptions and metrics of what an actix-web service serves. The last `wrap`, so that it
/// is outermost: what other middleware does to a request belongs to the request, and a panic in it,
/// too.
///
/// - The span is called by the method and the pattern of the resource (`GET /cart/{id}`), or by the
///   method alone where there is none. It takes the caller's trace context, begins the trail, and
///   ends with the response's body.
/// - A handler's error that becomes a 5xx is an exception: its type, its text, and by
///   [`with_error_type`](Self::with_error_type) its causes. A 5xx that nothing explains is one,
///   too. A panic becomes a response 500; without this, actix closes the connection.
/// - The exception's id goes to the client in the header `x-error-id`; a handler asks
///   [`last_error_id`](crate::last_error_id) for it.
/// - `http.server.request.duration` and `http.server.active_requests`, sampled or not.
///
/// Tested with actix-web 4.18. Allocates for each request: the head is copied, as actix-web has
/// types of its own for it.
#[derive(Clone, Default)]
pub struct Middleware {
    config: Arc<Config>,
}

/// What is set once.
#[derive(Clone, Default)]
struct Config {
    server: ServerConfig,
    user: Option<Arc<UserHook>>,
    error_types: Vec<ErrorType>,
}

type UserHook = dyn Fn(&ServiceRequest) -> Option<User> + Send + Sync;

/// A handler's error as what it is, if it is that.
type ErrorType = fn(&ActixError) -> Option<&(dyn Error + 'static)>;

impl Middleware {
    /// A layer with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The response header that carries the id of the request's exception where the response is a
    /// 4xx or 5xx; `x-error-id` by default. A name that is none of HTTP's changes nothing.
    #[must_use]
    pub fn with_error_id_header(self, name: &HeaderName) -> Self {
        self.with(|config| config.server.error_id = http::HeaderName::from_bytes(name.as_ref()).ok().or(config.server.error_id.take()))
    }

    /// Says nothing of exceptions to who called.
    #[must_use]
    pub fn without_error_id_header(self) -> Self {
        self.with(|config| config.server.error_id = None)
    }

    /// Lets panics go on, as they would without the middleware: they end the connection. (They are
    /// told in either case, by the panic hook.)
    #[must_use]
    pub fn without_panic_response(self) -> Self {
        self.with(|config| config.server.panic_response = false)
    }

    /// Takes neither trace context nor baggage from requests: every one begins a trace of its own.
    #[must_use]
    pub fn without_remote_context(self) -> Self {
        self.with(|config| config.server.remote = false)
    }

    /// Request headers that exceptions carry, as `http.request.header.<name>` and scrubbed by that
    /// name: what is secret by it stays out. None by default; the first value of each, 1 KiB at
    /// most.
    #[must_use]
    pub fn with_request_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().filter_map(|name| http::HeaderName::from_bytes(name.as_ref()).ok());
        self.with(|config| config.server.headers.extend(names))
    }

    /// Tells who a request is for, from its head. Authentication that runs further in calls
    /// [`set_user`](crate::set_user) instead.
    #[must_use]
    pub fn with_user(self, user: impl Fn(&ServiceRequest) -> Option<User> + Send + Sync + 'static) -> Self {
        self.with(|config| config.user = Some(Arc::new(user)))
    }

    /// An error of the service's handlers, whose causes and exact type exceptions are to have.
    /// actix-web does not say that a `ResponseError` is an [`Error`], so of others only the
    /// outermost is known.
    ///
    /// ```
    /// # #[derive(Debug)]
    /// # struct CheckoutError;
    /// # impl std::fmt::Display for CheckoutError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("checkout failed") }
    /// # }
    /// # impl std::error::Error for CheckoutError {}
    /// # impl actix_web::ResponseError for CheckoutError {}
    /// let middleware = crumbtrail::actix_web::Middleware::new().with_error_type::<CheckoutError>();
    /// # let _ = middleware;
    /// ```
    #[must_use]
    pub fn with_error_type<E: actix_web::ResponseError + Error + 'static>(self) -> Self {
        self.with(|config| config.error_types.push(|error| Some(error.as_error::<E>()? as _)))
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }
}

impl fmt::Debug for Middleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Middleware")
            .field("error_id", &self.config.server.error_id)
            .field("panic_response", &self.config.server.panic_response)
            .field("remote", &self.config.server.remote)
            .finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for Middleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<ObservedBody<B>>;
    type Error = ActixError;
    type Transform = Observed<S>;
    type InitError = ();
    type Future = std::future::Ready<Result<Observed<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        std::future::ready(Ok(Observed::new(Rc::new(service), self.config.clone())))
    }
}
