mkdir -p "$ROOT/etc/postfix" "$ROOT/var/lib/postfix"
chroot "$ROOT" chown postfix /var/lib/postfix
sed -e "s/^smtp      inet.*/127.0.0.1:$PORT inet n - n - - smtpd/" -e 's/ y  *- / n - /' \
    "$ROOT/usr/share/postfix/master.cf.dist" > "$ROOT/etc/postfix/master.cf"
cat > "$ROOT/etc/postfix/main.cf" <<END
compatibility_level = 3.6
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
myhostname = postfix.example
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
relayhost = [$NEXT_HOST]:$NEXT_PORT
maillog_file = /var/log/postfix.log
alias_maps =
message_size_limit = 0
smtpd_relay_restrictions = permit_mynetworks,reject
default_process_limit = 600
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
END
[ -z "$HOLD" ] || echo "smtpd_data_restrictions = check_client_access static:HOLD" >> "$ROOT/etc/postfix/main.cf"
chroot "$ROOT" postfix check || true
touch "$FOLDER/started"
exec chroot "$ROOT" postfix start-fg
