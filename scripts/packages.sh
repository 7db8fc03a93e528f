# The Debian (and Ubuntu) packages that Weir needs; read by install.sh, the Makefile's help and the README's reader.
# shellcheck shell=bash disable=SC2034

# To build.
build=(
  build-essential pkg-config
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libopus-dev
)

# To build the pages in web/.
web=(
  nodejs npm
)

# To record.
record=(
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-pulseaudio
  libopus0 glib-networking ca-certificates
  chromium xvfb pulseaudio
  fontconfig fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji fonts-dejavu-core
  util-linux
)

# To measure recordings, to receive streams, to carry messages, and (with peers.sh) to serve as storage and as a wrong clock.
test=(
  ffmpeg nginx libnginx-mod-rtmp srt-tools openssl redis-server
  python3-venv python3-seccomp faketime
)

# To check the files in docker/ (with lint-docker.sh).
lint=(
  shellcheck jq systemd
)
