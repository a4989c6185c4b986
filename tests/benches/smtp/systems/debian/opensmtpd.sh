mkdir -p "$ROOT/var/lib/opensmtpd/empty"
chown root:root "$ROOT/var/lib/opensmtpd/empty"
chmod 755 "$ROOT/var/lib/opensmtpd/empty"
chmod 711 "$ROOT$QUEUE"
# As its package would: smtpctl refuses to run otherwise.
chroot "$ROOT" chgrp opensmtpq /usr/sbin/smtpctl
chmod g+s "$ROOT/usr/sbin/smtpctl"
cat > "$ROOT/etc/smtpd.conf" <<END
listen on 127.0.0.1 port $PORT
smtp max-message-size 100M
smtp limit max-mails 1000000000
action "sink" relay host "smtp://$NEXT_HOST:$NEXT_PORT"
match from any for any action "sink"
END
# It asks for the name of each client; by default it asks DNS before the hosts file.
rm -f "$ROOT/etc/resolv.conf"
echo "lookup file" > "$ROOT/etc/resolv.conf"
rm -f "$FOLDER/held"
[ -z "$HOLD" ] || ( until chroot "$ROOT" smtpctl pause mta 2> /dev/null; do sleep 0.1; done; touch "$FOLDER/held" ) &
touch "$FOLDER/started"
exec chroot "$ROOT" smtpd -d -f /etc/smtpd.conf
