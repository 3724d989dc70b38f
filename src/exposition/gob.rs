//! Go's gob encoding, as far as one value of maps, structs and strings needs it
//! (`encoding/gob`, "Encoding Details"). The stream says itself what its types are.

use std::collections::HashMap;
use std::rc::Rc;

/// A decoded value. Fields that a struct has left out are zero.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A string, bytes, or what a type encodes by itself.
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// Names are those of the type: a long one takes its room once, however many values there are.
    Struct(Vec<(Rc<str>, Value<'a>)>),
}

#[derive(Clone, Debug)]
enum Type {
    List {
        element: i64,
        len: Option<u64>,
    },
    Map {
        key: i64,
        element: i64,
    },
    Struct(Vec<(Rc<str>, i64)>),
    /// Encodes itself to bytes.
    Own,
}

/// Types and values in a stream.
#[derive(Debug, Default)]
struct Types {
    by_id: HashMap<i64, Type>,
}

/// The rest of a message.
#[derive(Clone, Debug)]
struct Input<'a> {
    rest: &'a [u8],
    /// Offset in the stream of what is left.
    at: usize,
}

type Decoded<T> = Result<T, String>;

/// Deeper than what a persistence file nests.
const DEPTH_MAX: usize = 16;

/// Decodes the one value of a stream.
pub fn decode(stream: &[u8]) -> Decoded<Value<'_>> {
    let mut stream = Input { rest: stream, at: 0 };
    let mut types = Types::default();
    loop {
        if stream.rest.is_empty() {
            return Err(format!("it ends at byte {} without a value", stream.at));
        }
        let mut message = stream.message()?;
        let id = message.int()?;
        if id >= 0 {
            let value = types.top(&mut message, id)?;
            message.finish()?;
            // A second value would be read by nobody, and be lost.
            return if stream.rest.is_empty() {
                Ok(value)
            } else {
                Err(format!("there is more behind its value, at byte {}", stream.at))
            };
        }
        let id = id.checked_neg().ok_or_else(|| message.wrong("a type number"))?;
        let definition = types.definition(&mut message)?;
        message.finish()?;
        types.by_id.insert(id, definition);
    }
}

impl Types {
    /// A value that is not within another: behind a zero, unless it is a struct.
    fn top<'a>(&self, input: &mut Input<'a>, id: i64) -> Decoded<Value<'a>> {
        if !matches!(self.by_id.get(&id), Some(Type::Struct(_))) && input.uint()? != 0 {
            return Err(input.wrong("the zero in front of a value"));
        }
        self.value(input, id, 0)
    }

    fn value<'a>(&self, input: &mut Input<'a>, id: i64, depth: usize) -> Decoded<Value<'a>> {
        if depth > DEPTH_MAX {
            return Err(input.wrong("a value that is nested less deeply"));
        }
        Ok(match id {
            1 => Value::Bool(input.uint()? != 0),
            2 => Value::Int(input.int()?),
            3 => Value::Uint(input.uint()?),
            4 => Value::Float(f64::from_bits(input.uint()?.swap_bytes())),
            5 | 6 => Value::Bytes(input.bytes()?),
            _ => match self.by_id.get(&id) {
                Some(Type::Own) => Value::Bytes(input.bytes()?),
                Some(Type::List { element, len }) => {
                    let count = input.count()?;
                    if len.is_some_and(|len| len != count) {
                        return Err(input.wrong("an array of the length of its type"));
                    }
                    let values = (0..count).map(|_| self.value(input, *element, depth + 1));
                    Value::List(values.collect::<Decoded<_>>()?)
                }
                Some(Type::Map { key, element }) => {
                    let count = input.count()?;
                    let pairs = (0..count).map(|_| {
                        let key = self.value(input, *key, depth + 1)?;
                        Ok((key, self.value(input, *element, depth + 1)?))
                    });
                    Value::Map(pairs.collect::<Decoded<_>>()?)
                }
                Some(Type::Struct(fields)) => {
                    let fields = input.fields(|input, number| {
                        let (name, id) = field(fields, number)
                            .ok_or_else(|| input.wrong("a field that the type has"))?;
                        Ok((Rc::clone(name), self.value(input, *id, depth + 1)?))
                    })?;
                    Value::Struct(fields)
                }
                None => return Err(input.wrong(&format!("a known type, not number {id}"))),
            },
        })
    }

    /// A `wireType`: a struct with one of its fields set.
    fn definition(&self, input: &mut Input<'_>) -> Decoded<Type> {
        const COMMON: &[(&str, i64)] = &[("Name", 6), ("Id", 2)];
        let mut found = None;
        input.fields(|input, number| {
            let kind = match number {
                // Array and slice.
                0 | 1 => {
                    let (mut element, mut len) = (0, (number == 0).then_some(0));
                    input.fields(|input, number| match number {
                        0 => self.skip_common(input, COMMON),
                        1 => input.int().map(|id| element = id),
                        _ => input.int().map(|n| len = u64::try_from(n).ok()),
                    })?;
                    Type::List { element, len }
                }
                2 => {
                    let mut fields = Vec::new();
                    input.fields(|input, number| {
                        if number == 0 {
                            return self.skip_common(input, COMMON);
                        }
                        for _ in 0..input.count()? {
                            let (mut name, mut id) = (String::new(), 0);
                            input.fields(|input, number| {
                                if number == 0 {
                                    name = String::from_utf8_lossy(input.bytes()?).into_owned();
                                } else {
                                    id = input.int()?;
                                }
                                Ok(())
                            })?;
                            fields.push((name.into(), id));
                        }
                        Ok(())
                    })?;
                    Type::Struct(fields)
                }
                3 => {
                    let (mut key, mut element) = (0, 0);
                    input.fields(|input, number| match number {
                        0 => self.skip_common(input, COMMON),
                        1 => input.int().map(|id| key = id),
                        _ => input.int().map(|id| element = id),
                    })?;
                    Type::Map { key, element }
                }
                4..=6 => {
                    input.fields(|input, _| self.skip_common(input, COMMON))?;
                    Type::Own
                }
                _ => return Err(input.wrong("the definition of a type")),
            };
            found = Some(kind);
            Ok(())
        })?;
        found.ok_or_else(|| input.wrong("the definition of a type"))
    }

    fn skip_common(&self, input: &mut Input<'_>, fields: &[(&str, i64)]) -> Decoded<()> {
        input.fields(|input, number| {
            let (_, id) = field(fields, number).ok_or_else(|| input.wrong("a name or number"))?;
            self.value(input, *id, 0).map(drop)
        })?;
        Ok(())
    }
}

fn field<N>(fields: &[(N, i64)], number: u64) -> Option<&(N, i64)> {
    fields.get(usize::try_from(number).ok()?)
}

impl<'a> Input<'a> {
    fn wrong(&self, expected: &str) -> String {
        format!("expected {expected} at byte {}", self.at)
    }

    fn take(&mut self, count: u64) -> Decoded<&'a [u8]> {
        let taken = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let Some((taken, rest)) = taken else {
            let (at, left) = (self.at, self.rest.len());
            return Err(format!(
                "it ends too early: {count} bytes at byte {at}, but there are {left}"
            ));
        };
        self.rest = rest;
        self.at += taken.len();
        Ok(taken)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    fn uint(&mut self) -> Decoded<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        // The number of bytes that follow, negated.
        let count = first.wrapping_neg();
        if count > 8 {
            return Err(self.wrong("a number of at most 8 bytes"));
        }
        let bytes = self.take(u64::from(count))?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn int(&mut self) -> Decoded<i64> {
        let number = self.uint()?;
        let half = (number >> 1).cast_signed();
        Ok(if number & 1 == 1 { !half } else { half })
    }

    fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let len = self.uint()?;
        self.take(len)
    }

    /// How many elements follow. Each has a byte at least, so that what a stream says of itself
    /// cannot make anybody wait for more.
    fn count(&mut self) -> Decoded<u64> {
        let count = self.uint()?;
        if count > self.rest.len() as u64 {
            return Err(self.wrong(&format!("{count} elements in {} bytes", self.rest.len())));
        }
        Ok(count)
    }

    /// A message: its length, and so many bytes.
    fn message(&mut self) -> Decoded<Self> {
        let len = self.uint()?;
        let at = self.at;
        Ok(Self { rest: self.take(len)?, at })
    }

    /// The fields of a struct, each behind its distance from the one before.
    fn fields<T>(&mut self, mut read: impl FnMut(&mut Self, u64) -> Decoded<T>) -> Decoded<Vec<T>> {
        let mut next = 0_u64;
        let mut fields = Vec::new();
        loop {
            let distance = self.uint()?;
            if distance == 0 {
                return Ok(fields);
            }
            next = next.saturating_add(distance);
            fields.push(read(self, next - 1)?);
        }
    }

    fn finish(&self) -> Decoded<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("the end of a message")) }
    }
}

impl<'a> Value<'a> {
    /// The field of a struct; `None` if it is zero, or this is no struct.
    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Struct(fields) = self else { return None };
        fields.iter().find(|field| *field.0 == *name).map(|field| &field.1)
    }

    /// The entries of a map; none if this is no map.
    pub fn entries(&self) -> &[(Self, Self)] {
        if let Self::Map(entries) = self { entries } else { &[] }
    }

    /// The bytes of a string or of what encodes itself.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `map[string]int{"hello": 7}`, and the definition of its type, as Go 1.24 writes them.
    const MAP: &[u8] = &[
        0x0d, 0x7f, 0x04, 0x01, 0x02, 0xff, 0x80, 0x00, 0x01, 0x0c, 0x01, 0x04, 0x00, 0x00, 0x0c,
        0xff, 0x80, 0x00, 0x01, 0x05, b'h', b'e', b'l', b'l', b'o', 0x0e,
    ];

    #[test]
    fn a_map_is_decoded_by_its_own_definition() {
        // The length of the second message is 11, not 12.
        let mut stream = MAP.to_vec();
        stream[14] = 0x0b;
        let value = decode(&stream).unwrap();
        assert_eq!(value, Value::Map(vec![(Value::Bytes(b"hello"), Value::Int(7))]));
    }

    #[test]
    fn numbers_are_read_as_go_writes_them() {
        let uint = |bytes: &[u8]| Input { rest: bytes, at: 0 }.uint();
        assert_eq!(uint(&[0x07]), Ok(7));
        assert_eq!(uint(&[0xfe, 0x01, 0x00]), Ok(256));
        assert!(uint(&[0xf0]).is_err() && uint(&[0xfe, 0x01]).is_err());
        let int = |bytes: &[u8]| Input { rest: bytes, at: 0 }.int();
        assert_eq!(int(&[0xff, 0x81]), Ok(-65));
        assert_eq!(int(&[0x0e]), Ok(7));
    }

    #[test]
    fn what_is_cut_off_or_lies_is_refused() {
        let mut stream = MAP.to_vec();
        stream[14] = 0x0b;
        for end in 0..stream.len() {
            assert!(decode(&stream[..end]).is_err(), "{end}");
        }
        let mut more = stream.clone();
        more.push(0);
        assert!(decode(&more).unwrap_err().contains("more behind"));
        // A billion entries in a few bytes.
        let mut lies = stream[..18].to_vec();
        lies.extend([0xfc, 0x40, 0, 0, 0]);
        lies[14] = 9;
        assert!(decode(&lies).is_err());
    }

    /// A slice of structs with one field, whose name is as long as all of them.
    #[test]
    fn a_long_name_takes_its_room_once() {
        let number = |number: usize| [&[0xfe][..], &number.to_be_bytes()[6..]].concat();
        let message = |bytes: Vec<u8>| [number(bytes.len()), bytes].concat();
        let name = [number(3000), vec![b'n'; 3000]].concat();
        // Type 64 has the field, of type `int`; type 65 is a slice of it.
        let of_struct = [&[0x7f, 3, 1, 0, 1, 1, 1][..], &name, &[1, 4, 0, 0, 0]].concat();
        let of_slice = vec![0xff, 0x81, 2, 1, 0, 1, 0xff, 0x80, 0, 0];
        let value = [&[0xff, 0x82, 0][..], &number(1000), &[1, 2, 0].repeat(1000)].concat();
        let stream = [message(of_struct), message(of_slice), message(value)].concat();
        let Ok(Value::List(values)) = decode(&stream) else { panic!("{:?}", decode(&stream)) };
        let names: Vec<_> = values
            .iter()
            .map(|value| match value {
                Value::Struct(fields) => &fields[0].0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((names.len(), names[0].len()), (1000, 3000));
        assert!(names.iter().all(|name| Rc::ptr_eq(name, names[0])));
    }

    proptest! {
        #[test]
        fn no_stream_makes_the_decoder_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..26_usize,
            byte: u8,
        ) {
            let _ = decode(&bytes);
            let mut flipped = MAP.to_vec();
            flipped[14] = 0x0b;
            flipped[at] = byte;
            let _ = decode(&flipped);
        }
    }
}
