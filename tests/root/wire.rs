//! What went over a connection, packet by packet.

/// A packet of MQTT 5 that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Publish { topic: String, number: Option<u16>, payload: Vec<u8> },
    Acknowledgement(u16),
    Other,
}

/// Takes the first whole packet off the front.
pub fn mqtt(bytes: &mut Vec<u8>) -> Option<Packet> {
    let (length, from) = variable(bytes.get(1..)?)?;
    let (from, end) = (1 + from, 1 + from + length);
    let body = bytes.get(from..end)?;
    let first = bytes[0];
    let packet = match first >> 4 {
        3 => publish(first, body),
        4 => Packet::Acknowledgement(u16::from_be_bytes([body[0], body[1]])),
        _ => Packet::Other,
    };
    bytes.drain(..end);
    Some(packet)
}

fn publish(first: u8, body: &[u8]) -> Packet {
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8_lossy(&body[2..topic_end]).into_owned();
    let mut rest = &body[topic_end..];
    let mut number = None;
    if first & 0b110 != 0 {
        number = Some(u16::from_be_bytes([rest[0], rest[1]]));
        rest = &rest[2..];
    }
    let (properties, from) = variable(rest).expect("properties");
    Packet::Publish { topic, number, payload: rest[from + properties..].to_vec() }
}

/// A number in seven bits a byte, and how many bytes it took.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Takes the first whole HTTP request off the front, and returns its body.
pub fn http(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let end = head_end + length.unwrap_or(0);
    let body = bytes.get(head_end..end)?.to_vec();
    bytes.drain(..end);
    Some(body)
}
