#!/bin/sh
# Process 1 of a guest: runs the daemon with the unit's capabilities, with all of root's, and on a
# host without bpffs or cgroup v2. Prints "RESULT name ok…" or "RESULT name FAIL why" for each run.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mkdir -p /run/netns /run/relay
# busybox's shell prefers its own programs of these names.
ip() { /usr/bin/ip "$@"; }
parameter() { tr ' ' '\n' < /proc/cmdline | sed -n "s/^$1=//p"; }
say() { echo "RESULT $*"; }
unit_capabilities=$(parameter capabilities)
unit_user=$(parameter user)

# Loads modules repeatedly, since each may depend on another.
for round in 1 2 3 4; do
    for module in /modules/*.ko; do
        [ -e "$module" ] && insmod "$module" 2> /dev/null && rm "$module"
    done
done
ip link set lo up
ip link add cable0 type veth peer name cable1
ip link set cable0 up
ip link set cable1 up
# Two emulated interfaces on one hub; the peer has the other one.
ip netns add peer
ip link set eth1 netns peer
ip address add 10.99.0.1/24 dev eth0
ip link set eth0 up
ip -netns peer address add 10.99.0.2/24 dev eth1
ip -netns peer link set eth1 up

# begin MODE unit|all: starts the daemon and waits until it is ready.
begin() {
    sed "s/^mode = .*/mode = \"$1\"/" /etc/relay.toml > /tmp/relay.toml
    rm -rf /var/lib/relay
    mkdir -p /var/lib/relay
    : > /tmp/log
    if [ "$2" = all ]; then
        chown -R 0:0 /var/lib/relay /run/relay
        set -- --no-new-privs
    elif [ -z "$unit_user" ] || [ "$unit_user" = root ]; then
        chown -R 0:0 /var/lib/relay /run/relay
        set -- --no-new-privs --bounding-set "$unit_capabilities"
    else
        chown -R "$unit_user:$unit_user" /var/lib/relay /run/relay
        # As the unit's ExecStartPre=+ does.
        if grep -q ' /sys/fs/bpf bpf ' /proc/mounts; then
            chmod o+x /sys/fs/bpf
            mkdir -p /sys/fs/bpf/relay
            chown "$unit_user:$unit_user" /sys/fs/bpf/relay
        fi
        set -- --no-new-privs --reuid "$unit_user" --regid "$unit_user" --clear-groups \
            --inh-caps "$unit_capabilities" --ambient-caps "$unit_capabilities" \
            --bounding-set "$unit_capabilities"
    fi
    /usr/bin/setpriv "$@" /bin/relay run -c /tmp/relay.toml >> /tmp/log 2>&1 &
    daemon=$!
    tries=0
    until grep -q ' ready' /tmp/log; do
        sleep 0.1
        tries=$((tries + 1))
        if ! kill -0 $daemon 2> /dev/null || [ $tries -gt 900 ]; then return 1; fi
    done
}
end() { kill -TERM $daemon 2> /dev/null; wait $daemon; }
# Ends the processes that a failed run left behind.
abandon() { kill -9 $daemon 2> /dev/null; wait $daemon 2> /dev/null; }
status() { relay status --json -c /tmp/relay.toml 2>&1 | tr -d '\n' | sed 's/": /":/g'; }
why() { status | sed -n 's/.*"why":"\([^"]*\)".*/\1/p' | cut -c1-400; }
last_words() { grep -v '^ *$' /tmp/log | tail -n 1 | cut -c1-400; }
# until_log COUNT PATTERN: waits until COUNT lines of the log match PATTERN.
until_log() {
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ "$(grep -c "$2" /tmp/log)" -ge "$1" ] && return 0
        sleep 0.5
    done
    return 1
}
greets() { printf 'QUIT\r\n' | nc -w 5 "$1" 25 | grep -q '^220'; }
mode_of() { sed -n "s/.*\"$1\":\"\([a-z]*\).*/\1/p" /tmp/status; }

# play WHO: prints "ok…" or "FAIL why".
play() {
    if ! begin auto "$1"; then echo "FAIL no start: $(last_words)"; return; fi
    status > /tmp/status
    if ! grep -q '"decided_by":"kernel"' /tmp/status; then
        reason=$(why)
        end
        case $reason in
            *"is too old for the kernel half"*) echo "ok (as it must be: $reason)" ;;
            *) echo "FAIL the kernel does not decide: $reason" ;;
        esac
        return
    fi
    for interface in cable0 eth0; do
        grep -q "\"$interface\":\"[a-z]*\"" /tmp/status || { echo "FAIL no guard on $interface"; return; }
    done
    modes="cable0 $(mode_of cable0), eth0 $(mode_of eth0)"
    for try in 1 2 3; do
        greets 127.0.0.1 || { echo "FAIL no greeting over loopback"; return; }
    done
    ip netns exec peer sh -c "printf 'QUIT\r\n' | nc -w 5 10.99.0.1 25" | grep -q '^220' \
        || { echo "FAIL no greeting over eth0"; return; }
    status > /tmp/status
    grep -q '"syn_seen":[1-9]' /tmp/status || { echo "FAIL the guard saw no SYN"; return; }
    grep -q '"tagged":[1-9]' /tmp/status || { echo "FAIL nothing was tagged"; return; }
    grep -q '"tags_missing":[1-9]' /tmp/status && { echo "FAIL tags are missing"; return; }
    relay reload -c /tmp/relay.toml > /dev/null || { echo "FAIL reload"; return; }

    if [ "$1" = all ]; then
        end || { echo "FAIL stop: $?"; return; }
        echo "ok ($modes)"
        return
    fi

    # An interface that appears late, disappears, and appears again.
    for round in 1 2; do
        ip link add late0 type veth peer name late1
        until_log "$round" 'late0.*mode=native' || { echo "FAIL late0 has no guard, round $round"; return; }
        ip link delete late0
        until_log "$((round + 1))" 'no guard.*late0\|late0.*no guard' \
            || { echo "FAIL late0 is gone and the log does not say it"; return; }
    done

    # The MTU grows under an attached guard.
    ip -netns peer link set eth1 mtu 9000
    ip link set eth0 mtu 9000
    until_log 1 'MTU has changed' || { echo "FAIL the MTU changed and the guard stays as it was"; return; }
    ip netns exec peer ping -c 3 -W 5 -s 8000 10.99.0.1 > /tmp/ping 2>&1 \
        || { echo "FAIL frames of 8000 octets do not pass: $(tail -n 2 /tmp/ping | tr '\n' ' ')"; return; }
    status > /tmp/status
    grep -q '"eth0":"[a-z]*"' /tmp/status || { echo "FAIL no guard on eth0 with MTU 9000"; return; }
    modes="$modes, with MTU 9000 $(mode_of eth0)"
    ip link set eth0 mtu 1500
    ip -netns peer link set eth1 mtu 1500

    # A killed daemon leaves pins but no program; the next start removes the pins.
    kill -9 $daemon
    wait $daemon 2> /dev/null
    [ -e /sys/fs/bpf/relay/RANGES ] || { echo "FAIL no pins"; return; }
    ip link show eth0 | grep -q xdp && { echo "FAIL the guard outlives a kill"; return; }
    begin kernel "$1" || { echo "FAIL no second start: $(last_words)"; return; }
    grep -q 'pins of an instance that died' /tmp/log || { echo "FAIL stale pins stay"; return; }
    end || { echo "FAIL stop: $?"; return; }
    [ -e /sys/fs/bpf/relay/RANGES ] && { echo "FAIL pins stay"; return; }
    ip link show eth0 | grep -q xdp && { echo "FAIL the guard stays"; return; }
    echo "ok ($modes)"
}

# expect NAME PATTERN…: with mode auto and the unit's capabilities, each pattern is in the status.
expect() {
    name=$1
    shift
    if ! begin auto unit; then say "$name FAIL no start: $(last_words)"; return; fi
    status > /tmp/status
    end
    for pattern in "$@"; do
        if ! grep -q "$pattern" /tmp/status && ! grep -q 'is too old for the kernel half' /tmp/status
        then
            say "$name FAIL no $pattern: $(grep -o '"why":"[^"]*"' /tmp/status) $(last_words)"
            return
        fi
    done
    said=$(sed -n 's/.*"\(why\|not_pinned\)":"\([^"]*\)".*/\2/p' /tmp/status | cut -c1-400)
    say "$name ok${said:+ (says: $said)}"
}

for who in unit all; do
    # Not in a subshell: this shell must know the daemon's process id.
    play $who > /tmp/result
    say "$who $(cat /tmp/result)"
    abandon
    rm -rf /sys/fs/bpf/relay
done
umount /sys/fs/bpf
expect no-bpffs '"decided_by":"kernel"' '"not_pinned":".*bpffs'
mount -t bpf -o mode=700 bpf /sys/fs/bpf
umount /sys/fs/cgroup
expect cgroup-v1 '"decided_by":"daemon"' '"why":".*cgroup v2' '"not_enforced":\[ *"'
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/unified /sys/fs/cgroup/net_cls
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mount -t cgroup -o net_cls cgroup /sys/fs/cgroup/net_cls 2> /dev/null
expect hybrid '"decided_by":"kernel"'
say "uptime $(cut -d' ' -f1 /proc/uptime)"
sync
poweroff -f
