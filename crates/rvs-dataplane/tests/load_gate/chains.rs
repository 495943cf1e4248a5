//! How much stack a program's deepest chain of calls takes, from the object itself: the verifier
//! tells the depth of each function, but not who calls whom.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

/// The kernel rounds each frame up to this (`check_max_stack_depth`, Linux 6.1).
const ROUND: u32 = 32;
/// An instruction's bytes.
const WORD: u64 = 8;
/// `BPF_JMP | BPF_CALL`, `BPF_LD | BPF_IMM | BPF_DW`, `BPF_ALU64 | BPF_ADD | BPF_K`.
const CALL: u8 = 0x85;
const LOAD_IMMEDIATE: u8 = 0x18;
const ADD: u8 = 0x07;
/// The frame pointer.
const R10: u8 = 10;

struct Function {
    depth: u32,
    calls: BTreeSet<String>,
}

/// Bytes of stack of the deepest chain of each function, by name.
pub(crate) fn deepest(bytes: &[u8]) -> BTreeMap<String, u32> {
    let file = object::File::parse(bytes).expect("an ELF file");
    let mut functions = BTreeMap::new();
    // Section, first byte and name of each function.
    let places: Vec<_> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .map(|symbol| {
            let section = symbol.section_index().expect("a section");
            let name = symbol.name().expect("a name").to_owned();
            (section, symbol.address(), symbol.size(), name)
        })
        .collect();
    let at = |section, address| {
        places
            .iter()
            .find(|(of, start, _, _)| *of == section && *start == address)
            .map(|(_, _, _, name)| name.clone())
    };
    for (index, start, size, name) in &places {
        let section = file.section_by_index(*index).expect("a section");
        let data = section.data().expect("code");
        let relocations: BTreeMap<u64, _> = section.relocations().collect();
        let mut function = Function {
            depth: 0,
            calls: BTreeSet::new(),
        };
        let mut place = *start;
        while place < start + size {
            let word = &data[usize::try_from(place).expect("small")..][..8];
            let (code, registers) = (word[0], word[1]);
            let (destination, source) = (registers & 15, registers >> 4);
            let offset = i16::from_le_bytes([word[2], word[3]]);
            let immediate = i32::from_le_bytes([word[4], word[5], word[6], word[7]]);
            // Loads and stores by the frame pointer, and addresses made from it.
            let is_memory = matches!(code & 7, 1..=3);
            if is_memory && (destination == R10 || source == R10) && offset < 0 {
                function.depth = function.depth.max(offset.unsigned_abs().into());
            }
            if code == ADD && (-512..0).contains(&immediate) {
                function.depth = function.depth.max(immediate.unsigned_abs());
            }
            if code == CALL && source == 1 || code == LOAD_IMMEDIATE {
                let callee = match relocations.get(&place).map(object::Relocation::target) {
                    Some(RelocationTarget::Symbol(symbol)) => {
                        let symbol = file.symbol_by_index(symbol).expect("a symbol");
                        let own = symbol.section_index().unwrap_or(*index);
                        let steps = if code == CALL {
                            i64::from(immediate) + 1
                        } else {
                            i64::from(immediate) / 8
                        };
                        if symbol.kind() == SymbolKind::Section {
                            at(own, (steps * 8).unsigned_abs())
                        } else {
                            let is_function = symbol.kind() == SymbolKind::Text;
                            symbol
                                .name()
                                .ok()
                                .filter(|_| is_function)
                                .map(str::to_owned)
                        }
                    }
                    Some(_) => None,
                    None if code == CALL => {
                        let steps = i64::from(immediate) + 1;
                        at(*index, place.wrapping_add_signed(steps * 8))
                    }
                    None => None,
                };
                assert!(
                    code != CALL || callee.is_some(),
                    "{name}: a call to nobody known"
                );
                function.calls.extend(callee);
            }
            place += if code == LOAD_IMMEDIATE {
                2 * WORD
            } else {
                WORD
            };
        }
        functions.insert(name.clone(), function);
    }
    functions
        .keys()
        .map(|name| (name.clone(), chain(&functions, name)))
        .collect()
}

/// BPF has no recursion, so this one ends.
fn chain(functions: &BTreeMap<String, Function>, name: &str) -> u32 {
    let Some(function) = functions.get(name) else {
        return 0;
    };
    let below = function.calls.iter().map(|callee| chain(functions, callee));
    function.depth.max(1).next_multiple_of(ROUND) + below.max().unwrap_or(0)
}
