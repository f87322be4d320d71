//! Names for return addresses, on the worker. Comes in: addresses of this process. Goes out:
//! functions, files, lines, as far as the binaries tell.
//!
//! Debug files are opened when first needed and closed after a minute without use; they cost tens
//! of megabytes. Nothing here shares a lock with the capturing threads.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use addr2line::Loader;
use memchr::memmem;
use object::{Object as _, ObjectSection as _, ObjectSegment as _};

use super::{
    in_app::{OwnCrates, is_machinery},
    modules::{self, Module, RUNNING},
    symbols::{POINTERS, dropped, implementor, readable},
};
use crate::stack::TypeAddress;

/// One frame of a stack, with its names.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Demangled, without the hash; `<unknown>` where there is no symbol.
    pub(crate) function: String,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
    /// The service's own code.
    pub(crate) in_app: bool,
    /// Where it is in its binary, for a later look-up: file name and virtual address.
    pub(crate) module: Option<(Arc<str>, u64)>,
}

impl Frame {
    /// The function's path, without generic arguments; `<unknown>` where there is no symbol.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The source file, as the compiler knew it.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line in the source file.
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// Whether the frame is the service's own code, see
    /// [`Builder::with_own_crates`](crate::Builder::with_own_crates).
    pub fn is_own(&self) -> bool {
        self.in_app
    }
}

impl fmt::Debug for Frame {
    /// `shop::pay (src/pay.rs:12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({file}:{line})"),
            _ => Ok(()),
        }
    }
}

/// Open debug files, and the frames already named.
pub(crate) struct Resolver {
    own: Arc<OwnCrates>,
    modules: Vec<Module>,
    loaded: HashMap<Arc<str>, Option<Binary>>,
    /// The program's read-only data, while it is searched.
    constants: Option<Vec<u8>>,
    /// Texts that were looked for there.
    literals: HashMap<String, bool>,
    named: HashMap<usize, Arc<[Frame]>>,
    types: HashMap<TypeAddress, Option<(String, bool)>>,
    used: Instant,
}

struct Binary {
    name: Arc<str>,
    loader: Loader,
    /// File offset, length, virtual address of each loaded segment.
    segments: Vec<(u64, u64, u64)>,
}

/// Named addresses kept.
const MAX_NAMED: usize = 16 * 1024;
/// Texts kept, with whether they are literals.
const MAX_LITERALS: usize = 1024;
/// Debug files are closed after this long without use.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(feature = "testing")]
static LEFT: std::sync::Mutex<Vec<Resolver>> = std::sync::Mutex::new(Vec::new());

impl Resolver {
    /// One that an earlier test has left, which knows most names already; else a new one.
    #[cfg(feature = "testing")]
    pub(crate) fn left_by_another(own: &OwnCrates) -> Self {
        let mut idle = crate::lock::lock(&LEFT);
        let found = idle.iter().position(|resolver| *resolver.own == *own);
        found.map_or_else(|| Self::new(own.clone()), |index| idle.swap_remove(index))
    }

    /// Keeps it for the next test.
    #[cfg(feature = "testing")]
    pub(crate) fn leave(self) {
        crate::lock::lock(&LEFT).push(self);
    }

    pub(crate) fn new(own: OwnCrates) -> Self {
        Self {
            own: Arc::new(own),
            modules: Vec::new(),
            loaded: HashMap::new(),
            constants: None,
            literals: HashMap::new(),
            named: HashMap::new(),
            types: HashMap::new(),
            used: Instant::now(),
        }
    }

    /// Every frame of a stack, innermost first, inlined ones included; without the machinery that
    /// sits above the failing code.
    pub(crate) fn stack(&mut self, addresses: &[usize]) -> Vec<Frame> {
        let mut frames: Vec<Frame> = addresses.iter().flat_map(|address| self.frames(*address).to_vec()).collect();
        frames.drain(..machinery(&frames));
        frames
    }

    /// Finds the names of these, for later.
    pub(crate) fn learn(&mut self, addresses: &[usize], types: &[TypeAddress]) {
        for address in addresses {
            self.frames(*address);
        }
        for address in types {
            self.type_of(*address);
        }
    }

    /// Whether all of these have their names already: naming them takes no time.
    pub(crate) fn knows(&self, addresses: &[usize], types: &[TypeAddress]) -> bool {
        addresses.iter().all(|address| self.named.contains_key(address)) && types.iter().all(|address| self.types.contains_key(address))
    }

    /// An error's type, and whether that is certain. `None`: there is no symbol that tells.
    pub(crate) fn type_of(&mut self, address: TypeAddress) -> Option<(String, bool)> {
        if let Some(known) = self.types.get(&address) {
            return known.clone();
        }
        if self.types.len() >= MAX_NAMED {
            self.types.clear();
        }
        let TypeAddress([debug, witness]) = address;
        let name = self.symbol(debug as usize).and_then(|symbol| implementor(&symbol, "Debug"));
        let witness = self.symbol(witness as usize).and_then(|symbol| dropped(&symbol).or_else(|| implementor(&symbol, "Display")));
        // Functions with the same code may be one; then one of the two names another type.
        let name = match name {
            // Older symbols do not say whose pointer it is.
            Some(name) if POINTERS.contains(&&*name) => witness.clone(),
            name => name,
        };
        let found = name.map(|name| {
            let exact = witness.is_some_and(|witness| witness == name);
            (name, exact)
        });
        self.types.insert(address, found.clone());
        found
    }

    /// Whether the programmer wrote this text as it is, as far as that can be told: an error made
    /// from a literal (`"disk is full".into()`) has a copy of it. What was put together from parts
    /// is nowhere in the program. One word may be part of anything, so it counts as a variable.
    pub(crate) fn is_literal(&mut self, text: &str) -> bool {
        const LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;
        if !LENGTHS.contains(&text.len()) || !text.contains(' ') {
            return false;
        }
        if let Some(known) = self.literals.get(text) {
            return *known;
        }
        self.used = Instant::now();
        if self.literals.len() >= MAX_LITERALS {
            self.literals.clear();
        }
        let constants = self.constants.get_or_insert_with(|| constants().unwrap_or_default());
        let found = memmem::find(constants, text.as_bytes()).is_some();
        self.literals.insert(text.to_owned(), found);
        found
    }

    /// The symbol a function begins with.
    fn symbol(&mut self, address: usize) -> Option<String> {
        if address == 0 {
            return None;
        }
        self.used = Instant::now();
        let (binary, file_offset) = self.locate(address)?;
        binary.loader.find_symbol(binary.virtual_address(file_offset)?).map(str::to_owned)
    }

    /// The frames that a text says, in the form of the standard library's backtraces.
    pub(crate) fn parse(own: &OwnCrates, text: &str) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        for line in text.lines() {
            let line = line.trim_start();
            if let Some(place) = line.strip_prefix("at ") {
                let mut parts = place.rsplitn(3, ':');
                let (column, line, file) = (parts.next(), parts.next(), parts.next());
                if let (Some(frame), Some(file)) = (frames.last_mut(), file) {
                    (frame.column, frame.line) = (column.and_then(|text| text.parse().ok()), line.and_then(|text| text.parse().ok()));
                    frame.file = Some(file.trim_start_matches("./").to_owned());
                    frame.in_app = own.has(&frame.function, Some(file));
                }
            } else if let Some((number, function)) = line.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok()) {
                let _ = number;
                let function = readable(function);
                frames.push(Frame { in_app: own.has(&function, None), function, file: None, line: None, column: None, module: None });
            }
        }
        frames.drain(..machinery(&frames));
        frames
    }

    /// Closes what has not been used for a while.
    pub(crate) fn sweep(&mut self) {
        if self.used.elapsed() > IDLE && !(self.loaded.is_empty() && self.constants.is_none()) {
            self.loaded = HashMap::new();
            self.constants = None;
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            super::trim::give_back();
        }
    }

    fn frames(&mut self, address: usize) -> Arc<[Frame]> {
        if let Some(known) = self.named.get(&address) {
            return known.clone();
        }
        self.used = Instant::now();
        if self.named.len() >= MAX_NAMED {
            self.named.clear();
        }
        // A return address is one past its call.
        let frames: Arc<[Frame]> = self.look_up(address.saturating_sub(1)).into();
        self.named.insert(address, frames.clone());
        frames
    }

    fn look_up(&mut self, address: usize) -> Vec<Frame> {
        let unknown = |module| vec![unknown(module)];
        let own = self.own.clone();
        let Some((binary, file_offset)) = self.locate(address) else { return unknown(None) };
        let Some(virtual_address) = binary.virtual_address(file_offset) else { return unknown(None) };
        let module = Some((binary.name.clone(), virtual_address));
        let mut frames = Vec::new();
        if let Ok(mut found) = binary.loader.find_frames(virtual_address) {
            while let Ok(Some(frame)) = found.next() {
                let symbol = frame.function.as_ref().and_then(|function| function.raw_name().ok());
                let Some(symbol) = symbol else { continue };
                let place = frame.location.as_ref();
                frames.push(named_frame(&own, &symbol, place, module.clone()));
            }
            // Line tables have only short names; the outermost frame is the symbol's own and has a full one there.
            if let (Some(outermost), Some(symbol)) = (frames.last_mut(), binary.loader.find_symbol(virtual_address))
                && !outermost.function.contains("::")
            {
                outermost.function = readable(symbol);
            }
        }
        if frames.is_empty() {
            match binary.loader.find_symbol(virtual_address) {
                Some(symbol) => frames.push(named_frame(&own, symbol, None, module)),
                None => return unknown(module),
            }
        }
        frames
    }

    /// The file an address is in, and where there.
    fn locate(&mut self, address: usize) -> Option<(&Binary, u64)> {
        if !self.modules.iter().any(|module| module.holds(address)) {
            // A library may have been loaded since.
            self.modules = modules::of_this_process();
        }
        let module = self.modules.iter().find(|module| module.holds(address))?;
        let offset = (address - module.start) as u64 + module.offset;
        let binary = self.loaded.entry(module.path.clone()).or_insert_with(|| Binary::open(module)).as_ref()?;
        Some((binary, offset))
    }
}

/// How many frames at the start belong to capturing, panicking and `tracing`: up to the last such
/// frame before the service's own code, or before a run of frames that are none.
fn machinery(frames: &[Frame]) -> usize {
    const LONGEST_RUN: usize = 6;
    let mut end = 0;
    for (index, frame) in frames.iter().enumerate() {
        if frame.in_app || index >= end + LONGEST_RUN {
            break;
        }
        if is_machinery(&frame.function, frame.file.as_deref()) {
            end = index + 1;
        }
    }
    end
}

fn named_frame(own: &OwnCrates, symbol: &str, place: Option<&addr2line::Location<'_>>, module: Option<(Arc<str>, u64)>) -> Frame {
    let function = readable(symbol);
    let file = place.and_then(|place| place.file);
    Frame {
        in_app: own.has(&function, file),
        function,
        file: file.map(str::to_owned),
        line: place.and_then(|place| place.line),
        column: place.and_then(|place| place.column),
        module,
    }
}

impl Binary {
    fn open(module: &Module) -> Option<Self> {
        let name = module.name()?;
        // What keeps the contents there is needed until they are mapped.
        let (path, _contents) = module.contents()?;
        let bytes = std::fs::File::open(&path).ok()?;
        let cache = object::ReadCache::new(bytes);
        let file = object::File::parse(&cache).ok()?;
        let segments = file
            .segments()
            .map(|segment| {
                let (offset, length) = segment.file_range();
                (offset, length, segment.address())
            })
            .collect();
        Some(Self { name, segments, loader: Loader::new(&path).ok()? })
    }

    fn virtual_address(&self, file_offset: u64) -> Option<u64> {
        let (offset, _, address) = self.segments.iter().find(|(offset, length, _)| (*offset..offset + length).contains(&file_offset))?;
        Some(file_offset - offset + address)
    }
}

/// Where each file is mapped in this process, for naming addresses without reading a file. As it
/// was when this was made: a library loaded later is not known.
pub(crate) struct ModuleMap(Vec<(Module, usize, Arc<str>)>);

impl ModuleMap {
    pub(crate) fn of_this_process() -> Self {
        let base = |module: &Module| module.start.saturating_sub(module.offset as usize);
        let named = modules::of_this_process().into_iter().filter_map(|module| {
            let name = module.name()?;
            Some((base(&module), name, module))
        });
        Self(named.map(|(base, name, module)| (module, base, name)).collect())
    }

    /// Frames with nothing but their place in a binary. Reads nothing.
    pub(crate) fn stack(&self, addresses: &[usize]) -> Vec<Frame> {
        let module = |address: usize| {
            let (_, base, name) = self.0.iter().find(|(module, ..)| module.holds(address))?;
            Some((name.clone(), (address - base) as u64))
        };
        addresses.iter().map(|address| unknown(module(address.saturating_sub(1)))).collect()
    }
}

fn unknown(module: Option<(Arc<str>, u64)>) -> Frame {
    Frame { function: "<unknown>".to_owned(), file: None, line: None, column: None, in_app: false, module }
}

/// The read-only data of the running program.
fn constants() -> Option<Vec<u8>> {
    /// What is larger holds more than texts.
    const MAX: u64 = 64 << 20;
    let cache = object::ReadCache::new(std::fs::File::open(Path::new(RUNNING)).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let sections = file.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".rodata")) && section.size() <= MAX);
    Some(sections.filter_map(|section| section.data().ok().map(<[u8]>::to_vec)).collect::<Vec<_>>().concat())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[inline(never)]
    fn somewhere_known() -> Box<[usize]> {
        let frames = crate::stack::capture();
        std::hint::black_box(frames)
    }

    #[test]
    fn a_captured_stack_gets_its_names() {
        let addresses = somewhere_known();
        let mut resolver = Resolver::new(OwnCrates::new(["crumbtrail".to_owned()]));
        let functions: Vec<String> = resolver.stack(&addresses).into_iter().map(|frame| frame.function).collect();
        assert!(functions.iter().any(|name| name.ends_with("tests::somewhere_known")), "{functions:#?}");
        assert!(functions.iter().any(|name| name.ends_with("a_captured_stack_gets_its_names")), "{functions:#?}");
        resolver.loaded.clear();
        assert_eq!(resolver.stack(&addresses).len(), functions.len(), "names outlive the files they came from");
    }

    #[test]
    fn types_behind_dyn_error_have_their_names() {
        #[derive(Debug)]
        struct Declined<T>(#[allow(dead_code)] T);
        impl<T> std::fmt::Display for Declined<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("declined")
            }
        }
        impl<T: std::fmt::Debug> std::error::Error for Declined<T> {}

        let mut resolver = Resolver::new(OwnCrates::default());
        let mut name = |error: &dyn std::error::Error| resolver.type_of(TypeAddress::of(error));
        let here = format!("{}::types_behind_dyn_error_have_their_names::Declined", module_path!());
        assert_eq!(name(&Declined(1)), Some((here.clone(), true)));
        assert_eq!(name(&Declined(String::new())), Some((here, true)));
        assert_eq!(name(&"x".parse::<u8>().unwrap_err()), Some(("core::num::error::ParseIntError".to_owned(), true)));
        assert_eq!(name(&std::io::Error::other("x")), Some(("std::io::error::Error".to_owned(), true)));
    }

    #[test]
    fn a_backtrace_as_text_is_read() {
        let text = "   0: shop::pay::{{closure}}\n             at ./src/pay.rs:12:5\n   1: std::rt::lang_start\n             at /rustc/0/library/std/src/rt.rs:1:2\n";
        let frames = Resolver::parse(&OwnCrates::new(["shop".to_owned()]), text);
        assert_eq!(
            format!("{frames:?}"),
            "[shop::pay::{{closure}} (src/pay.rs:12), std::rt::lang_start (/rustc/0/library/std/src/rt.rs:1)]"
        );
        assert_eq!(frames.iter().map(Frame::is_own).collect::<Vec<_>>(), [true, false]);
        assert!(Resolver::parse(&OwnCrates::default(), "disabled backtrace").is_empty());
    }

    #[test]
    fn an_address_of_nothing_is_unknown() {
        let mut resolver = Resolver::new(OwnCrates::default());
        let frames = resolver.stack(&[1, usize::MAX]);
        assert!(frames.iter().all(|frame| frame.function == "<unknown>"), "{frames:?}");
    }
}
