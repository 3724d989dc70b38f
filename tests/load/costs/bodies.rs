//! Bodies of pushes of any size.

use std::fmt::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// A body in which each of so many lines says something else.
pub(crate) fn lines(n: usize, line: impl Fn(usize) -> String) -> Vec<u8> {
    let mut body = String::new();
    for at in 0..n {
        writeln!(body, "{}", line(at)).unwrap();
    }
    body.into_bytes()
}

/// One family of so many series.
pub(crate) fn series(n: usize) -> Vec<u8> {
    lines(n, |at| format!("m{{i=\"{at}\",zone=\"a\"}} {at}"))
}

/// One series with so many labels.
pub(crate) fn labels(n: usize) -> Vec<u8> {
    let labels: Vec<_> = (0..n).map(|at| format!("l{at}=\"v\"")).collect();
    format!("m{{{}}} 1\n", labels.join(",")).into_bytes()
}

/// One histogram with so many buckets, the highest first.
pub(crate) fn buckets(n: usize) -> Vec<u8> {
    let mut body = b"# TYPE h histogram\n".to_vec();
    body.extend(lines(n, |at| format!("h_bucket{{le=\"{}\"}} {}", n - at, n - at)));
    body.extend(format!("h_sum 1\nh_count {n}\n").into_bytes());
    body
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// One family of so many series as a delimited message.
pub(crate) fn protobuf(n: usize) -> Vec<u8> {
    let mut family = field(1, b"m");
    family.extend([0x18, 1]);
    for at in 0..n {
        let label = [field(1, b"i"), field(2, at.to_string().as_bytes())].concat();
        let gauge = [vec![0x09], 1_f64.to_le_bytes().to_vec()].concat();
        family.extend(field(4, &[field(1, &label), field(2, &gauge)].concat()));
    }
    [varint(family.len()), family].concat()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(bytes.len()), bytes.to_vec()].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}
