# Lays the packages in $TREES over this machine's root, in this mount namespace only. What the
# server writes beside its queue, its log above all, stays in memory.
mount -t tmpfs tmpfs "$FOLDER/over"
mkdir "$FOLDER/over/up" "$FOLDER/over/work"
for tree in $TREES; do cp -a "$tree/." "$FOLDER/over/up/"; done
# A package's own /lib would hide the link of that name.
rm -rf "$FOLDER/over/up/lib" "$FOLDER"/over/up/*.deb
ROOT="$FOLDER/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$FOLDER/over/up,workdir=$FOLDER/over/work" "$ROOT"
mkdir -p "$ROOT$QUEUE"
mount --bind "$FOLDER/queue" "$ROOT$QUEUE"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
number=900
for user in $USERS; do
    number=$((number + 1))
    grep -q "^$user:" "$ROOT/etc/passwd" || {
        echo "$user:x:$number:$number::/nonexistent:/usr/sbin/nologin" >> "$ROOT/etc/passwd"
        echo "$user:x:$number:" >> "$ROOT/etc/group"
    }
done
