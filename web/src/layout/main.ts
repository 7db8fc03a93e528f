import { Room } from "livekit-client";

document.body.dataset.sdk = String(Room.name);
