//! The protocol on the wire, its rules, and both of its ends on a bus.

mod bus_fixture;
mod claims;
mod endings;
mod hostile;
mod observed;
mod rpc;
mod wire;

/// Lines of `name hex hex…` out of tests/data/psrpc.
pub(super) fn frames(file: &str) -> Vec<(String, bytes::Bytes)> {
    let path = format!("{}/tests/data/psrpc/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let frames: Vec<_> = lines
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap().to_owned();
            let digits: String = words.collect();
            let bytes = digits
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
            (name, bytes.collect())
        })
        .collect();
    assert!(frames.len() >= 5, "{file} has frames");
    frames
}
