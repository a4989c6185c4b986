mkdir -p "$ROOT/var/log/exim4"
chroot "$ROOT" chown Debian-exim:Debian-exim /var/log/exim4 /var/spool/exim4
cat > "$ROOT/etc/exim.conf" <<END
primary_hostname = exim.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = $PORT
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
message_size_limit = 0
rfc1413_query_timeout = 0s
host_lookup =
queue_only = $([ -n "$HOLD" ] && echo true || echo false)
begin routers
sink:
  driver = manualroute
  route_list = * $NEXT_HOST
  transport = sink
  self = send
begin transports
sink:
  driver = smtp
  port = $NEXT_PORT
  allow_localhost
  hosts_try_dane =
begin retry
* * F,2h,1m
END
chmod 644 "$ROOT/etc/exim.conf"
touch "$FOLDER/started"
[ -n "$HOLD" ] || exec chroot "$ROOT" exim4 -C /etc/exim.conf -bdf -q1m
exec chroot "$ROOT" exim4 -C /etc/exim.conf -bdf
