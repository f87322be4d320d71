//! How a request ends. Comes in: a response, an error, or a panic. Goes out: what is told of it,
//! and the same with the id of the exception.

use std::{any::Any, fmt, panic::resume_unwind};

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};

use super::{Config, ObservedBody};
use crate::{exception::Shown, tower::Exchange, unwind::dispose};

/// A panic's payload, and whether the panic hook has told of it.
type Panicked = (Box<dyn Any + Send>, bool);

pub(super) fn answered<B: MessageBody>(
    mut response: ServiceResponse<B>,
    mut exchange: Exchange,
    config: &Config,
) -> ServiceResponse<ObservedBody<B>> {
    let status = response.status();
    if let Some(error) = response.response().error().filter(|_| status.is_server_error()) {
        report_cause(status, error, &mut exchange, config);
    }
    let name = end(status, &mut exchange, config);
    if let Some((name, value)) = name {
        response.headers_mut().insert(name, value);
    }
    response.map_body(|_, body| {
        let is_empty = matches!(body.size(), BodySize::None | BodySize::Sized(0));
        if is_empty {
            exchange.complete();
        }
        let is_complete = is_empty || exchange.is_complete();
        ObservedBody::new(body, (!is_complete).then_some(exchange))
    })
}

/// An error that no handler has made a response of: that is done further out.
pub(super) fn failed(error: Error, mut exchange: Exchange, config: &Config) -> Error {
    let status = error.as_response_error().status_code();
    if status.is_server_error() {
        report_cause(status, &error, &mut exchange, config);
    }
    let name = end(status, &mut exchange, config);
    exchange.complete();
    match name {
        Some(name) => Named { error, name }.into(),
        None => error,
    }
}

pub(super) fn panicked<B>((payload, was_told): Panicked, mut exchange: Exchange, config: &Config) -> Result<B, Error> {
    exchange.panicked(&*payload, was_told);
    if !config.server.panic_response {
        drop(exchange);
        resume_unwind(payload);
    }
    dispose(payload);
    let name = end(StatusCode::INTERNAL_SERVER_ERROR, &mut exchange, config);
    let error = actix_web::error::InternalError::from_response("", HttpResponse::InternalServerError().finish()).into();
    Err(match name {
        Some(name) => Named { error, name }.into(),
        None => error,
    })
}

fn report_cause(status: StatusCode, error: &Error, exchange: &mut Exchange, config: &Config) {
    let status = status_of(status);
    match config.error_types.iter().find_map(|of| of(error)) {
        Some(error) => exchange.caused_by(status, error),
        None => {
            let shown = error.as_response_error();
            exchange.caused_by(status, &Shown { debug: shown, display: shown });
        }
    }
}

/// What the status says; and the header that names the exception, if there is one to name.
fn end(status: StatusCode, exchange: &mut Exchange, config: &Config) -> Option<(HeaderName, HeaderValue)> {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = status_of(status);
    exchange.answered(&head);
    exchange.name_error(&mut head, config.server.error_id.as_ref());
    let (name, value) = head.headers.iter().next()?;
    Some((HeaderName::from_bytes(name.as_ref()).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
}

fn status_of(status: StatusCode) -> http::StatusCode {
    http::StatusCode::from_u16(status.as_u16()).unwrap_or_default()
}

/// An error whose response names the exception.
struct Named {
    error: Error,
    name: (HeaderName, HeaderValue),
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl ResponseError for Named {
    fn status_code(&self) -> StatusCode {
        self.error.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = self.error.error_response();
        response.headers_mut().insert(self.name.0.clone(), self.name.1.clone());
        response
    }
}
