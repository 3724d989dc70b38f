//! The limit of durable pushes: a bare hyper server behind which one thread stores the bodies as they
//! are, with group commit, in the same store. Beyond that Tidegate does the parsing, checking,
//! indexing and rendering.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tidegate::model::{GroupState, GroupingKey, Label};
use tidegate::store::{
    Commit, EncodedFamily, FamiliesChange, FamilyHeader, OpenError, Options, StagedGroups as _,
    Store, Writer,
};
use tidegate::time::{UnixMillis, UnixNanos};
use tokio::sync::oneshot;

use crate::{Result, bare};

type Push = (u64, Bytes, oneshot::Sender<()>);

/// Serves until the process is killed.
pub(crate) fn serve(address: &str, folder: &str) -> Result<()> {
    let options = Options { path: PathBuf::from(folder), cache_bytes: 64 << 20 };
    let store = Arc::new(Store::open(&options)?);
    let mut writer = Writer::load(&store, |_| Ok::<_, OpenError>(()))?;
    let key = GroupingKey::new(vec![Label::new("job", "raw")])?;
    let (send, pushes) = channel();
    std::thread::spawn(move || lane(&store, &mut writer, &key, &pushes));
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
            // The lane ends only with the process.
            let _ = stored.await;
        }
    }
    Ok(Response::new(Full::default()))
}

fn lane(store: &Store, writer: &mut Writer, key: &GroupingKey, pushes: &Receiver<Push>) {
    let state = GroupState::new(UnixNanos(0), UnixMillis(0));
    while let Ok(first) = pushes.recv() {
        let mut answers = Vec::new();
        for (group, body, done) in std::iter::once(first).chain(pushes.try_iter()) {
            let family = EncodedFamily::new(FamilyHeader::default(), body);
            let change = FamiliesChange::Replace(vec![&family]);
            if writer.put(group, key, &state, change).is_err() {
                return;
            }
            answers.push(done);
        }
        if writer.commit(&Commit::default()).and_then(|()| store.sync()).is_err() {
            return;
        }
        for answer in answers {
            // Whoever has hung up needs none.
            let _ = answer.send(());
        }
    }
}
