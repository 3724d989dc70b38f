//! The yardstick of pushes: a hyper server that reads each body and answers 200.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Result;

/// Serves until the process is killed.
pub(crate) fn serve(address: &str) -> Result<()> {
    run(address, answer)
}

/// Answers every request on every connection until the process is killed.
pub(crate) fn run<F>(
    address: &str,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> Result<()>
where
    F: Future<Output = std::result::Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service_fn(answer.clone());
            connections.spawn(async move {
                // A client that goes away is no concern of a yardstick.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    debug_assert!(body.is_ok(), "wrk sends whole bodies");
    Ok(Response::new(Full::default()))
}
