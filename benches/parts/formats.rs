//! The formats: text and protobuf in, text and protobuf out, gzip.

use std::hint::black_box;
use std::io::Read as _;

use criterion::{Bencher, Criterion, Throughput};
use tidegate::exposition::gzip::{self, Deflated, Effort, Member, deflate};
use tidegate::exposition::protobuf::{decode, encode};
use tidegate::exposition::text::{LabelBlock, header, lines, parse};
use tidegate::model::{Escaping, MetricFamily, MetricType, NameRules};

use crate::body::body;
use crate::running::Result;
use crate::samples::{key, samples};

/// As large as the gateway's segments of lines are, and as the runs that it compresses.
const SEGMENT_BYTES: usize = 32 * 1024;
const RUN_BYTES: usize = 64 * 1024;

pub(crate) fn benches(criterion: &mut Criterion) -> Result<()> {
    for sample in samples()? {
        let families = &sample.families;
        let body = sample.body.as_bytes();
        bytes(criterion, "text parse", sample.name, body.len(), |bencher| {
            bencher.iter(|| parse(black_box(body), NameRules::Legacy));
        });

        let block = LabelBlock::of_group(&key(1));
        let mut rendered = Vec::new();
        render(&mut rendered, families, &block);
        check_rendered(families, &rendered)?;
        bytes(criterion, "text render", sample.name, rendered.len(), |bencher| {
            bencher.iter(|| {
                rendered.clear();
                render(&mut rendered, black_box(families), &block);
            });
        });

        let message = delimited(families);
        assert_eq!(decode(&message, NameRules::Legacy)?, *families);
        bytes(criterion, "protobuf decode", sample.name, message.len(), |bencher| {
            bencher.iter(|| decode(black_box(&message), NameRules::Legacy));
        });
    }
    protobuf_of_lines(criterion)?;
    compression(criterion)
}

/// A bench of something that takes, or makes, so many bytes.
fn bytes(
    criterion: &mut Criterion,
    what: &str,
    of: &str,
    bytes: usize,
    bench: impl FnMut(&mut Bencher<'_>),
) {
    let mut group = criterion.benchmark_group(what);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(of, bench);
    group.finish();
}

fn render(out: &mut Vec<u8>, families: &[MetricFamily], block: &LabelBlock) {
    for family in families {
        lines(out, family, block);
    }
}

/// The lines say the families, with the labels of the group.
fn check_rendered(families: &[MetricFamily], rendered: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(rendered)?;
    assert!(text.lines().all(|line| line.contains(r#"instance="host-1",job="backup""#)));
    let mut plain = Vec::new();
    for family in families {
        plain.extend(header(&family.name, family.help.as_deref(), family.kind));
        lines(&mut plain, family, &LabelBlock::empty());
    }
    assert_eq!(parse(&plain, NameRules::Legacy)?, families);
    Ok(())
}

fn delimited(families: &[MetricFamily]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let help = family.help.as_deref();
        let mut message = encode::header(&family.name, help, family.kind, Escaping::AllowUtf8);
        for metric in &family.metrics {
            let labels = metric.labels.iter().map(|l| (l.name.as_str(), l.value.as_str()));
            encode::metric(&mut message, metric, labels);
        }
        out.extend(encode::length_prefix(message.len()));
        out.extend(message);
    }
    out
}

/// The conversion of each segment that has changed, in a scrape in protobuf.
fn protobuf_of_lines(criterion: &mut Criterion) -> Result<()> {
    let text = family_lines(SEGMENT_BYTES)?;
    let convert = |out: &mut Vec<u8>, text: &[u8]| {
        encode::metrics_from_text(out, text, MetricType::Gauge, Escaping::AllowUtf8);
    };
    let mut out = Vec::new();
    convert(&mut out, &text);
    let family = encode::family("m", None, MetricType::Gauge, &out)?;
    assert_eq!(family.metrics.len(), memchr::memchr_iter(b'\n', &text).count());
    assert!(family.metrics.iter().all(|metric| metric.labels.len() == 2));
    bytes(criterion, "protobuf of lines", "a segment", text.len(), |bencher| {
        bencher.iter(|| {
            out.clear();
            convert(&mut out, black_box(&text));
        });
    });
    Ok(())
}

/// The lines of one family in as many groups as fit.
fn family_lines(bytes: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for group in 0.. {
        let families = parse(body(group, 0).as_bytes(), NameRules::Legacy)?;
        let block = LabelBlock::of_group(&key(group));
        render(&mut text, families.get(..1).unwrap_or_default(), &block);
        if text.len() >= bytes {
            break;
        }
    }
    Ok(text)
}

fn compression(criterion: &mut Criterion) -> Result<()> {
    const RUNS: usize = 100;
    let text = family_lines(RUNS * RUN_BYTES)?;
    let runs: Vec<_> = text.chunks(RUN_BYTES).collect();
    let first = *runs.first().ok_or("there are runs")?;
    let parts: Vec<_> =
        runs.iter().map(|run| deflate(Effort::Kept, std::iter::once(*run))).collect();
    check_member(&join(&parts), &text)?;
    bytes(criterion, "gzip deflate", "a run", first.len(), |bencher| {
        bencher.iter(|| deflate(Effort::Kept, std::iter::once(black_box(first))));
    });
    // The bytes are those of the scrape, none of which are touched.
    bytes(criterion, "gzip join", "a hundred runs", text.len(), |bencher| {
        bencher.iter(|| join(black_box(&parts)));
    });
    Ok(())
}

/// The bytes that are sent, in pieces.
fn join(parts: &[Deflated]) -> Vec<bytes::Bytes> {
    let mut member = Member::default();
    let mut pieces = Vec::with_capacity(parts.len() + 1);
    pieces.extend(parts.iter().map(|part| member.join(part)));
    pieces.push(member.finish());
    pieces
}

fn check_member(pieces: &[bytes::Bytes], text: &[u8]) -> Result<()> {
    let member = [&gzip::HEADER[..], &pieces.concat()].concat();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(member.as_slice()).read_to_end(&mut unpacked)?;
    assert!(unpacked == text, "the parts join to what was compressed");
    Ok(())
}
