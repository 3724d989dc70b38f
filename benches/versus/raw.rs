//! The limit of durable pushes: a bare hyper server behind which one thread stores the bodies as they
//! are, with group commit, in the same store. What Tidegate does beyond that is parsing, checking,
//! indexing and rendering.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tidegate::store::record::{ChunkRecord, FamilyRecord};
use tidegate::store::{Batch, ChunkKey, Frame, Options, Store};
use tokio::sync::oneshot;

use crate::{Result, bare};

type Push = (u64, Bytes, oneshot::Sender<()>);

/// Serves until the process is killed.
pub(crate) fn serve(address: &str, folder: &str) -> Result<()> {
    let options = Options { path: PathBuf::from(folder), cache_bytes: 64 << 20 };
    let store = Store::open(&options)?;
    let (send, pushes) = channel();
    std::thread::spawn(move || lane(&store, &pushes));
    bare::run(address, move |request| answer(send.clone(), request))
}

async fn answer(
    send: Sender<Push>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let mut hasher = DefaultHasher::new();
    request.uri().path().hash(&mut hasher);
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    if let Ok(body) = body.as_ref().map(Bytes::clone)
        && !body.is_empty()
    {
        let (done, stored) = oneshot::channel();
        if send.send((hasher.finish(), body, done)).is_ok() {
            // The lane is gone only if the process is.
            let _ = stored.await;
        }
    }
    Ok(Response::new(Full::default()))
}

fn lane(store: &Store, pushes: &Receiver<Push>) {
    while let Ok(first) = pushes.recv() {
        let mut batch = Batch::default();
        let mut answers = Vec::new();
        for (group, body, done) in std::iter::once(first).chain(pushes.try_iter()) {
            let key = ChunkKey { group, chunk: 0 };
            let family = FamilyRecord { metrics: body, ..FamilyRecord::default() };
            batch.put(key, Frame::new(key, &ChunkRecord { families: vec![family] }), None);
            answers.push(done);
        }
        if store.apply(&batch).and_then(|()| store.sync()).is_err() {
            return;
        }
        for answer in answers {
            // Whoever has hung up needs none.
            let _ = answer.send(());
        }
    }
}
