# What turns Docker's default seccomp profile into ours. Docker lets no process without CAP_SYS_ADMIN make namespaces, so that
# in its containers Chromium can't build its sandbox, and Weir would have to run it without. The three calls that follow are
# what it needs: a namespace of its own for users, processes and network, and an empty root. In them the kernel gives no right
# over anything outside. `clone3` stays refused, as its flags can't be looked at; glibc then uses `clone`.
.syscalls |= [{
  "comment": "Chromium's sandbox",
  "names": ["chroot", "clone", "unshare"],
  "action": "SCMP_ACT_ALLOW"
}] + .
