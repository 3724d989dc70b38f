//! Scrapes of many groups: nothing has changed since the last one, or one group has.

use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use tidegate::exposition::{ContentEncoding, Format, ScrapeFormat};
use tidegate::gateway::{Gateway, ScrapeOptions, Sync};
use tidegate::model::Escaping;
use tidegate::time::SystemClock;

use crate::running::{self, Push, Result, Running, push_all, scrape};
use crate::scratch::scratch;

/// Groups of ten series.
const GROUPS: usize = 10_000;
const AT_ONCE: usize = 256;

pub(crate) fn benches(criterion: &mut Criterion) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let folder = scratch("parts")?;
    let store = running::open(folder.path())?;
    let lazy = Sync::Within(Duration::from_hours(1));
    let running = Running::start(store, std::sync::Arc::new(SystemClock::new()), lazy)?;
    let gateway = &running.gateway;
    let groups = (0..GROUPS).map(|group| Push::new(group, 0));
    runtime.block_on(push_all(gateway, None, AT_ONCE, groups))?;

    let text = runtime.block_on(text(gateway));
    assert_eq!(running::totals(&text), Some((GROUPS, 10 * GROUPS)));
    let mut group = criterion.benchmark_group("scrape");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, format, encoding) in [
        ("text", Format::Text, ContentEncoding::Identity),
        ("text, gzip", Format::Text, ContentEncoding::Gzip),
        ("protobuf", Format::Protobuf, ContentEncoding::Identity),
    ] {
        let format = ScrapeFormat { format, escaping: Escaping::AllowUtf8 };
        let options = ScrapeOptions { format, encoding };
        let sent = runtime.block_on(sent(gateway, options));
        assert!(sent > 0 && sent <= text.len(), "{sent} bytes");
        group.bench_function(format!("{name}, nothing new"), |bencher| {
            bencher.iter(|| runtime.block_on(self::sent(gateway, options)));
        });
        let mut round = 0;
        group.bench_function(format!("{name}, one push since"), |bencher| {
            let mut push_and_scrape = || {
                round += 1;
                let push = Push::new(round * 7919 % GROUPS, round);
                let pushed = push_all(gateway, None, 1, std::iter::once(push));
                runtime.block_on(async {
                    pushed.await.expect("it is as those before");
                    self::sent(gateway, options).await
                })
            };
            bencher.iter(&mut push_and_scrape);
        });
    }
    group.finish();
    runtime.block_on(running.stop())
}

async fn text(gateway: &Gateway) -> Vec<u8> {
    let mut text = Vec::new();
    scrape(gateway, ScrapeOptions::default(), |frame| text.extend(frame)).await;
    text
}

/// How many bytes a scrape sends.
async fn sent(gateway: &Gateway, options: ScrapeOptions) -> usize {
    let mut exposition = gateway.scrape(options).await;
    let mut frames = Vec::new();
    let mut sent = 0;
    while exposition.next_frames(&mut frames) {
        sent += frames.drain(..).map(|frame| frame.len()).sum::<usize>();
    }
    sent + frames.iter().map(Bytes::len).sum::<usize>()
}
