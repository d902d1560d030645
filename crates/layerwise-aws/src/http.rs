//! The AWS SDK's requests (for credentials: SSO, roles, the machine's own) through our HTTP client: one TLS stack, the
//! same proxies and certificates everywhere.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

pub(crate) fn adapter(http: reqwest::Client) -> SharedHttpClient {
    http_client_fn(move |settings: &HttpConnectorSettings, _| {
        let timeout = settings.read_timeout().unwrap_or(Duration::from_secs(30));
        SharedHttpConnector::new(Connector { http: http.clone(), timeout })
    })
}

#[derive(Debug)]
struct Connector {
    http: reqwest::Client,
    timeout: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, timeout) = (self.http.clone(), self.timeout);
        HttpConnectorFuture::new(async move {
            let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
            let method =
                reqwest::Method::from_bytes(request.method().as_bytes()).map_err(|error| user(error.into()))?;
            let mut building = http.request(method, request.uri()).timeout(timeout);
            for (name, value) in request.headers().iter_bytes() {
                building = building.header(name, value);
            }
            // Requests for credentials are small; none of them streams.
            let body = request.body().bytes().map(<[u8]>::to_vec).unwrap_or_default();
            let failed = |error: reqwest::Error| match (error.is_timeout(), error.is_connect()) {
                (true, _) => ConnectorError::timeout(error.without_url().into()),
                (_, true) => ConnectorError::io(error.without_url().into()).never_connected(),
                _ => ConnectorError::io(error.without_url().into()),
            };
            let response = building.body(body).send().await.map_err(failed)?;
            let status = response.status().as_u16().try_into().map_err(|error| user(Box::new(error)))?;
            let headers = response.headers().clone();
            let body = response.bytes().await.map_err(failed)?;
            let mut answer = HttpResponse::new(status, SdkBody::from(body.to_vec()));
            for (name, value) in &headers {
                if let Ok(value) = value.to_str() {
                    answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
                }
            }
            Ok(answer)
        })
    }
}
