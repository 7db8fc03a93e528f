// The room as the layouts see it: who shows what.
import {
  type RemoteParticipant,
  type RemoteTrackPublication,
  RemoteVideoTrack,
  type Room,
  Track,
} from "livekit-client";
import type { Candidate } from "./order";

/** A participant's camera or screen. */
export interface Showing extends Candidate {
  readonly publication: RemoteTrackPublication;
  readonly track: RemoteVideoTrack;
  readonly name: string;
  readonly microphone: "open" | "muted";
  readonly aspect: number;
}

const SHOWN = new Set([Track.Source.Camera, Track.Source.ScreenShare, Track.Source.Unknown]);

/** All video that is received, in no particular order. */
export function showings(room: Room): Showing[] {
  return [...room.remoteParticipants.values()].flatMap((participant) => {
    const published = [...participant.videoTrackPublications.values()].filter(({ source }) =>
      SHOWN.has(source),
    );
    // Numbers, not tracks, identify a participant's cameras: a reconnect replaces the tracks.
    const seen = new Map<Track.Source, number>();
    return published.flatMap((publication) => {
      const number = seen.get(publication.source) ?? 0;
      seen.set(publication.source, number + 1);
      const track = publication.track;
      return track instanceof RemoteVideoTrack ? [showing(participant, publication, track, number)] : [];
    });
  });
}

function showing(
  participant: RemoteParticipant,
  publication: RemoteTrackPublication,
  track: RemoteVideoTrack,
  number: number,
): Showing {
  const screen = publication.source === Track.Source.ScreenShare;
  const { width, height } = publication.dimensions ?? { width: 0, height: 0 };
  return {
    id: `${participant.identity}/${publication.source}/${number}`,
    kind: screen ? "screen-share" : "camera",
    speaking: participant.isSpeaking,
    level: participant.audioLevel,
    lastSpoke: participant.lastSpokeAt?.getTime(),
    cameraOn: !publication.isMuted,
    joinedAt: participant.joinedAt?.getTime() ?? 0,
    publication,
    track,
    name: participant.name || participant.identity,
    microphone: participant.isMicrophoneEnabled ? "open" : "muted",
    aspect: width > 0 && height > 0 ? width / height : 16 / 9,
  };
}

/** How much video could be shown, how much of that has not arrived yet, and how many tracks are received: see start.ts. */
export function counts(room: Room): { videos: number; missing: number; tracks: number } {
  const published = [...room.remoteParticipants.values()].flatMap((participant) => [
    ...participant.trackPublications.values(),
  ]);
  const videos = published.filter(({ kind, isMuted }) => kind === Track.Kind.Video && !isMuted);
  return {
    videos: videos.length,
    missing: videos.filter(({ track }) => track === undefined).length,
    tracks: published.filter(({ track }) => track !== undefined).length,
  };
}
