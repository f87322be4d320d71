//! What a symbol says. Comes in: a name as the compiler has made it, or a type's. Goes out: the
//! function or type, without what differs where the defect does not.

/// The type whose `Debug` a symbol is: `<shop::Declined as core::fmt::Debug>::fmt` →
/// `shop::Declined`. (An implementation in another module than its type's is `shop::show::<impl
/// core::fmt::Debug for shop::Declined>::fmt`.)
pub(super) fn implementor(symbol: &str, of: &str) -> Option<String> {
    let symbol = format!("{:#}", rustc_demangle::demangle(symbol));
    let name = match symbol.split_once(&format!("<impl core::fmt::{of} for ")) {
        Some((_, rest)) => without_arguments(rest.strip_suffix(">::fmt")?),
        None => {
            let whole = symbol.strip_prefix('<').and_then(|rest| rest.strip_suffix(&format!(" as core::fmt::{of}>::fmt")));
            // Older symbols have the parameter's name there, not the type's.
            match whole.map(pointee).filter(|pointed| whole != Some(*pointed) && pointed.contains("::")) {
                Some(pointed) => without_arguments(pointed),
                None => without_arguments(&symbol).strip_prefix('<')?.strip_suffix(&format!(" as core::fmt::{of}>::fmt"))?.to_owned(),
            }
        }
    };
    // A reference or box says nothing of the error in it.
    Some(name).filter(|name| !(name.starts_with('&') || name.starts_with("alloc::boxed::")))
}

/// Pointers that are errors because what they point to is.
pub(super) const POINTERS: [&str; 3] = ["alloc::sync::Arc", "alloc::rc::Rc", "alloc::boxed::Box"];

/// What a pointer's type, with its arguments, points to; other types as they are.
pub(crate) fn pointee(name: &str) -> &str {
    let pointed = POINTERS.iter().find_map(|pointer| name.strip_prefix(pointer)?.strip_prefix('<')?.strip_suffix('>'));
    match pointed {
        // The allocator, where it is named.
        Some(pointed) => pointee(pointed.split(", alloc::alloc::Global").next().unwrap_or(pointed).trim()),
        None => name,
    }
}

/// The type whose drop glue a symbol is: `core::ptr::drop_in_place::<shop::Declined<u8>>` →
/// `shop::Declined`.
pub(super) fn dropped(symbol: &str) -> Option<String> {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    let name = name.strip_prefix("core::ptr::drop_in_place")?.trim_start_matches("::").strip_prefix('<')?.strip_suffix('>')?;
    Some(without_arguments(pointee(name)))
}

/// A symbol's name demangled, without its hash and without generic arguments:
/// `shop::Cart<T>::add<U>` → `shop::Cart::add`.
pub(super) fn readable(symbol: &str) -> String {
    without_arguments(&format!("{:#}", rustc_demangle::demangle(symbol)))
}

/// A type's or function's path without generic arguments.
pub(crate) fn without_arguments(demangled: &str) -> String {
    let mut name = String::with_capacity(demangled.len());
    let mut depth = 0usize;
    let mut previous = ' ';
    for character in demangled.chars() {
        match character {
            // The bracket of `<T as Trait>` begins a path; one behind a name begins arguments.
            '<' if depth > 0 || previous.is_alphanumeric() || matches!(previous, '_' | '}' | ':') => depth += 1,
            // The arrow of a function type closes nothing.
            '>' if depth > 0 && previous != '-' => {
                depth -= 1;
                previous = '>';
                continue;
            }
            _ if depth == 0 => name.push(character),
            _ => {}
        }
        previous = character;
    }
    name.replace("::::", "::").trim_end_matches("::").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_arguments_and_nothing_else() {
        for (symbol, expected) in [
            ("shop::Cart<alloc::vec::Vec<u8>>::add<fn(u8) -> u16>", "shop::Cart::add"),
            ("<shop::Cart<u8> as core::fmt::Debug>::fmt", "<shop::Cart as core::fmt::Debug>::fmt"),
            ("shop::pay::{closure#0}", "shop::pay::{closure#0}"),
            ("shop::parse::<u8>", "shop::parse"),
            ("<alloc::boxed::Box<dyn FnOnce()> as FnOnce>::call_once", "<alloc::boxed::Box as FnOnce>::call_once"),
        ] {
            assert_eq!(readable(symbol), expected);
        }
    }

    #[test]
    fn the_type_is_found_in_every_form_of_a_symbol() {
        for symbol in [
            "<shop::Declined as core::fmt::Debug>::fmt",
            "<shop::Declined<T> as core::fmt::Debug>::fmt",
            "shop::show::<impl core::fmt::Debug for shop::Declined<C,E>>::fmt",
        ] {
            assert_eq!(implementor(symbol, "Debug").as_deref(), Some("shop::Declined"), "{symbol}");
        }
        assert_eq!(implementor("<&T as core::fmt::Debug>::fmt", "Debug"), None);
        assert_eq!(implementor("<shop::Declined as core::fmt::Display>::fmt", "Debug"), None);
    }
}
