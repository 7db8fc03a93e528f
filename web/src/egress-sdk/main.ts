// A template as somebody else would write one: LiveKit's own npm package, the first video all over, the layout's name on top of it.
import EgressHelper from "@livekit/egress-sdk";
import { type RemoteTrack, Room, RoomEvent } from "livekit-client";

const label = document.createElement("div");
label.style.cssText =
  "position:fixed;z-index:1;left:0;top:0;width:100%;font:48px sans-serif;color:#fff;background:#000";

/** Shows the layout to programs: as the page's background color on the right half of the label. */
function show(layout: string): void {
  label.textContent = layout;
  label.dataset.layout = layout;
  label.style.background = layout.startsWith("speaker") ? "#0000ff" : "#000000";
}

const room = new Room({ adaptiveStream: true });
EgressHelper.setRoom(room);
EgressHelper.onLayoutChanged(show);
room.on(RoomEvent.TrackSubscribed, (track: RemoteTrack) => {
  const element = track.attach();
  if (element instanceof HTMLVideoElement) {
    element.style.cssText = "position:fixed;inset:0;width:100%;height:100%;object-fit:cover";
    element.requestVideoFrameCallback(() => EgressHelper.startRecording());
  }
  document.body.append(element);
});
document.body.append(label);
show(EgressHelper.getLayout());
room.connect(EgressHelper.getLiveKitURL(), EgressHelper.getAccessToken()).catch((error: unknown) => {
  label.className = "error";
  label.textContent = String(error);
});
