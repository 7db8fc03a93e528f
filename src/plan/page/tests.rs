use super::*;
use crate::plan::room::RoomEntry;

fn page(layout: &str) -> RoomPage {
    let room = RoomAccess {
        name: "stand-up".to_owned(),
        id: String::new(),
        server: "wss://livekit.example/".parse().unwrap(),
        entry: RoomEntry::Token(Secret::default()),
    };
    RoomPage { room, identity: "EG_1".to_owned(), layout: layout.to_owned(), template: Template::Own }
}

/// docs/reference/page.md: what a layout has to know is set, what the base has stays, and names
/// come in the order of the alphabet.
#[test]
fn an_address_has_what_a_layout_has_to_know() {
    let token = Secret::new("a+b/c=".to_owned());
    for (base, layout, address) in [
        (
            "http://localhost:7980/",
            "grid",
            "http://localhost:7980/?layout=grid&token=a%2Bb%2Fc%3D&url=wss%3A%2F%2Flivekit.example%2F",
        ),
        (
            "https://a.example/x?theme=dark&token=theirs#top",
            "my layout&more",
            "https://a.example/x?theme=dark&layout=my+layout%26more&token=a%2Bb%2Fc%3D\
             &url=wss%3A%2F%2Flivekit.example%2F#top",
        ),
        (
            "https://a.example",
            "",
            "https://a.example/?layout=&token=a%2Bb%2Fc%3D&url=wss%3A%2F%2Flivekit.example%2F",
        ),
    ] {
        let made = page(layout).address(&base.parse().unwrap(), &token);
        assert_eq!(made.expose().as_str(), address);
        assert_eq!(format!("{made:?}"), "***");
    }
}
