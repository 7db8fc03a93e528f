// What the service answers, as far as the page reads it: LiveKit's EgressInfo with the names of the .proto file, and what is ours
// around it. Numbers of 64 bits are strings there.

export interface Stream {
  url: string;
  status: string;
  error: string;
  started_at: string;
  retries: number;
}

export interface FileResult {
  filename: string;
  location: string;
  size: string;
  duration: string;
}

export interface Segments {
  playlist_name: string;
  playlist_location: string;
  live_playlist_location: string;
  segment_count: string;
}

export interface Images {
  filename_prefix: string;
  image_count: string;
}

/** A request, of whatever kind: only what is shown of it. */
export interface Request {
  url?: string;
  room_name?: string;
  identity?: string;
  track_id?: string;
  audio_track_id?: string;
  video_track_id?: string;
  layout?: string;
  audio_only?: boolean;
  /** Only in v1 requests. */
  stream_outputs?: unknown[];
  stream?: unknown;
  /** Only in v2 requests. */
  web?: Request;
  template?: Request;
  media?: Request;
  outputs?: { stream?: unknown }[];
}

export interface EgressInfo {
  egress_id: string;
  room_name: string;
  status: string;
  started_at: string;
  ended_at: string;
  error: string;
  details: string;
  stream_results: Stream[];
  file_results: FileResult[];
  segment_results: Segments[];
  image_results: Images[];
  web?: Request;
  room_composite?: Request;
  participant?: Request;
  track_composite?: Request;
  track?: Request;
  egress?: Request;
}

export interface Progress {
  seconds: number;
  pictures: number;
  dropped: number;
  bytes: number;
  stored: number;
  waiting: number;
  waiting_bytes: number;
}

export interface Recording {
  info: EgressInfo;
  kind: string | null;
  cpu_cores: number | null;
  memory_bytes: number | null;
  progress: Progress;
}

export interface Board {
  node: {
    version: string;
    state: "serving" | "unheard" | "terminating";
    cores: number;
    cores_in_use: number;
    cores_available: number;
  };
  recordings: Recording[];
  finished: EgressInfo[];
}
