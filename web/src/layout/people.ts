// The room as the layouts see it: who shows what.
import {
  type RemoteParticipant,
  type RemoteTrackPublication,
  RemoteVideoTrack,
  type Room,
  Track,
} from "livekit-client";
import type { Candidate } from "./order";

/** A picture that somebody shows. */
export interface Showing extends Candidate {
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
    // A participant's second camera is told from the first by its number, not by the track, which a reconnect replaces.
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
    track,
    name: participant.name || participant.identity,
    microphone: participant.isMicrophoneEnabled ? "open" : "muted",
    aspect: width > 0 && height > 0 ? width / height : 16 / 9,
  };
}

/** How much video could yet be shown, and how many tracks are received: see start.ts. */
export function counts(room: Room): { videos: number; tracks: number } {
  const published = [...room.remoteParticipants.values()].flatMap((participant) => [
    ...participant.trackPublications.values(),
  ]);
  return {
    videos: published.filter(({ kind, isMuted }) => kind === Track.Kind.Video && !isMuted).length,
    tracks: published.filter(({ track }) => track !== undefined).length,
  };
}

/** Whether all video that there is has arrived. */
export function complete(room: Room): boolean {
  return [...room.remoteParticipants.values()].every((participant) =>
    [...participant.videoTrackPublications.values()].every(({ track }) => track !== undefined),
  );
}
