//! A value's parts as attributes, through `serde`: bounded in depth, number and size while it is
//! serialised, so that a huge value costs no more than a small one.
//!
//! A `Serializer` of our own is long for one call that is seldom made. By way of JSON it would be
//! shorter, and was worse: a value that refers to itself is written until the stack is full, which
//! ends the process; one long text hides all that is behind it; bytes become numbers, in which no
//! secret is found; and numbers change with a feature that another crate turns on.

use std::fmt::Display;

use serde::ser::{
    Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

use super::{clean::MAX_VALUE, clean_value};
use crate::{
    AttributeValue,
    fork::Once,
    scrub::{FILTERED, Scrubber, Treatment},
    text::cut,
    unwind::guarded,
};

/// Levels below the context's name.
const MAX_DEPTH: usize = 4;
/// Parts of one context, and values of one list.
const MAX_PARTS: usize = 64;
/// Bytes of one context.
const MAX_BYTES: usize = 8 * 1024;

/// The parts of `value`, each under its whole key. `None`: its `Serialize` failed or panicked, which is said once.
pub(super) fn flatten(name: &str, value: &impl Serialize, scrubber: &Scrubber) -> Option<Vec<(String, AttributeValue)>> {
    let mut parts = Parts { all: Vec::new(), bytes: 0, scrubber };
    let outcome = guarded(|| {
        value.serialize(Node { parts: &mut parts, path: name.to_owned(), depth: 0, denied: scrubber.key(name) == Treatment::Filter })
    });
    match outcome {
        Some(Ok(()) | Err(Stop::Full)) => Some(parts.all),
        Some(Err(Stop::Failed)) | None => {
            static SAID: Once = Once::new();
            SAID.call_once(|| crate::diagnose(format_args!("a context cannot be serialised and is left out")));
            None
        }
    }
}

struct Parts<'a> {
    all: Vec<(String, AttributeValue)>,
    bytes: usize,
    scrubber: &'a Scrubber,
}

impl Parts<'_> {
    fn push(&mut self, path: &str, denied: bool, value: AttributeValue) -> Result<(), Stop> {
        let bytes = path.len() + value.weight();
        if self.all.len() >= MAX_PARTS || self.bytes + bytes > MAX_BYTES {
            return Err(Stop::Full);
        }
        self.bytes += bytes;
        // Keys of maps are data.
        let key = self.scrubber.scrub(path).into_owned();
        let is_flag = matches!(value, AttributeValue::Bool(_));
        let value = if denied && !is_flag { FILTERED.into() } else { clean_value(self.scrubber, path, value) };
        self.all.push((key, value));
        Ok(())
    }
}

/// Why it ended early.
#[derive(Debug)]
enum Stop {
    /// A limit: what there is, is kept.
    Full,
    /// The value says it cannot be serialised.
    Failed,
}

impl Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stop {}

impl serde::ser::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Self::Failed
    }
}

/// A place in the value.
struct Node<'a, 'b> {
    parts: &'a mut Parts<'b>,
    path: String,
    depth: usize,
    /// What is below a key that is a secret is one.
    denied: bool,
}

impl<'b> Node<'_, 'b> {
    fn leaf(self, value: impl Into<AttributeValue>) -> Result<(), Stop> {
        self.parts.push(&self.path, self.denied, value.into())
    }

    fn child(&mut self, name: &str) -> Node<'_, 'b> {
        let denied = self.denied || self.parts.scrubber.key(name) == Treatment::Filter;
        Node { path: format!("{}.{}", self.path, cut(name, 64)), depth: self.depth + 1, denied, parts: self.parts }
    }

    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Stop> {
        let child = self.child(name);
        if child.depth > MAX_DEPTH { child.leaf("…") } else { value.serialize(child) }
    }
}

macro_rules! leaves {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Stop> { self.leaf(value) })*
    };
}

impl<'a, 'b> Serializer for Node<'a, 'b> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = List<'a, 'b>;
    type SerializeTuple = List<'a, 'b>;
    type SerializeTupleStruct = List<'a, 'b>;
    type SerializeTupleVariant = List<'a, 'b>;
    type SerializeMap = Named<'a, 'b>;
    type SerializeStruct = Named<'a, 'b>;
    type SerializeStructVariant = Named<'a, 'b>;

    leaves!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64);

    fn serialize_char(self, value: char) -> Result<(), Stop> {
        self.leaf(value.to_string())
    }

    fn serialize_str(self, value: &str) -> Result<(), Stop> {
        self.leaf(cut(value, MAX_VALUE))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Stop> {
        self.leaf(format!("{} bytes", value.len()))
    }

    fn serialize_none(self) -> Result<(), Stop> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Stop> {
        self.leaf(name)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Stop> {
        self.leaf(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.put(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a, 'b>, Stop> {
        Ok(List { node: self, plain: Vec::new(), index: 0 })
    }

    fn serialize_tuple(self, length: usize) -> Result<List<'a, 'b>, Stop> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<List<'a, 'b>, Stop> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, length: usize) -> Result<List<'a, 'b>, Stop> {
        Node { path: format!("{}.{variant}", self.path), ..self }.serialize_seq(Some(length))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Named<'a, 'b>, Stop> {
        Ok(Named { node: self, key: String::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Named<'a, 'b>, Stop> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Named<'a, 'b>, Stop> {
        Node { path: format!("{}.{variant}", self.path), ..self }.serialize_map(None)
    }
}

/// A list: one attribute if all of it is plain, else an attribute for each part, by number.
struct List<'a, 'b> {
    node: Node<'a, 'b>,
    plain: Vec<AttributeValue>,
    index: usize,
}

impl List<'_, '_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        if self.index >= MAX_PARTS {
            return self.full();
        }
        let before = self.node.parts.all.len();
        if self.node.put(&self.index.to_string(), value).is_err() {
            return self.full();
        }
        self.index += 1;
        // A plain value has made one part, under just this number.
        let path = format!("{}.{}", self.node.path, self.index - 1);
        if self.node.parts.all.len() == before + 1 && self.node.parts.all[before].0 == path && self.plain.len() + 1 == self.index {
            let value = self.node.parts.all.pop().map(|(_, value)| value);
            // Its number is not said.
            self.node.parts.bytes -= path.len();
            self.plain.extend(value);
        }
        Ok(())
    }

    /// No more of it: what there is, is kept.
    fn full(&mut self) -> Result<(), Stop> {
        let (plain, path) = (std::mem::take(&mut self.plain), self.node.path.clone());
        if plain.len() == self.index && !plain.is_empty() {
            self.node.parts.all.push((path, AttributeValue::Array(plain)));
        }
        Err(Stop::Full)
    }

    fn finish(self) -> Result<(), Stop> {
        let Self { node, plain, index } = self;
        if plain.len() == index {
            // Counted and clean already.
            if !plain.is_empty() {
                node.parts.all.push((node.path, AttributeValue::Array(plain)));
            }
            return Ok(());
        }
        let parts = plain.into_iter().enumerate().map(|(number, value)| (format!("{}.{number}", node.path), value));
        node.parts.all.extend(parts);
        Ok(())
    }
}

macro_rules! list {
    ($($trait:ident: $method:ident),*) => {
        $(impl $trait for List<'_, '_> {
            type Ok = ();
            type Error = Stop;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
                self.add(value)
            }

            fn end(self) -> Result<(), Stop> {
                self.finish()
            }
        })*
    };
}

list!(SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

/// A map or struct.
struct Named<'a, 'b> {
    node: Node<'a, 'b>,
    key: String,
}

impl SerializeMap for Named<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        self.key = key.serialize(KeyText)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        let key = std::mem::take(&mut self.key);
        self.node.put(&key, value)
    }

    fn end(self) -> Result<(), Stop> {
        Ok(())
    }
}

macro_rules! named {
    ($($trait:ident),*) => {
        $(impl $trait for Named<'_, '_> {
            type Ok = ();
            type Error = Stop;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Stop> {
                self.node.put(key, value)
            }

            fn end(self) -> Result<(), Stop> {
                Ok(())
            }
        })*
    };
}

named!(SerializeStruct, SerializeStructVariant);

/// A map's key as text; what is not plain is no key.
struct KeyText;

macro_rules! texts {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<String, Stop> { Ok(value.to_string()) })*
    };
}

impl Serializer for KeyText {
    type Ok = String;
    type Error = Stop;
    type SerializeSeq = Impossible<String, Stop>;
    type SerializeTuple = Impossible<String, Stop>;
    type SerializeTupleStruct = Impossible<String, Stop>;
    type SerializeTupleVariant = Impossible<String, Stop>;
    type SerializeMap = Impossible<String, Stop>;
    type SerializeStruct = Impossible<String, Stop>;
    type SerializeStructVariant = Impossible<String, Stop>;

    texts!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64,
        serialize_char: char, serialize_str: &str);

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<String, Stop> {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<String, Stop> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, Stop> {
        value.serialize(self)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<String, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_none(self) -> Result<String, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_unit(self) -> Result<String, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<String, Stop> {
        Ok(name.to_owned())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<String, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self::SerializeTupleVariant, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Stop> {
        Err(Stop::Failed)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self::SerializeStructVariant, Stop> {
        Err(Stop::Failed)
    }
}

#[cfg(test)]
mod tests;
