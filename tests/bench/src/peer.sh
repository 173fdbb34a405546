# Debian's Postfix and Dovecot on loopback, their defaults but for names, ports, paths, and the limits that keep many sessions out.
# Durability is their own: Postfix syncs its queue file before 250, Dovecot syncs the message before it answers LMTP.
state=@STATE@
getent passwd benchmail >/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin benchmail
mkdir -p "$state"/{postfix,spool,data,mail,run,lib}
chmod 755 "$state"; chown benchmail: "$state"/mail; chown postfix "$state"/data
for n in $(seq 1 @MAILBOXES@); do echo "user$n@bench.test x"; done >"$state"/mailboxes
cat >"$state"/dovecot.conf <<C
base_dir = $state/run
state_dir = $state/lib
instance_name = postern-bench
protocols = imap lmtp
listen = 127.0.0.1
log_path = $state/dovecot.log
auth_mechanisms = plain scram-sha-256
disable_plaintext_auth = no
ssl = yes
ssl_cert = <$state/cert.pem
ssl_key = <$state/key.pem
first_valid_uid = 100
mail_max_userip_connections = 0
passdb {
  driver = passwd-file
  mechanisms = scram-sha-256
  args = scheme=SCRAM-SHA-256 username_format=%u $state/users-scram
}
passdb {
  driver = passwd-file
  mechanisms = plain
  args = scheme=ARGON2ID username_format=%u $state/users-argon2
}
userdb {
  driver = static
  args = uid=benchmail gid=benchmail home=$state/mail/%n allow_all_users=yes
}
mail_location = maildir:~/Maildir
service imap-login {
  process_limit = 6000
  inet_listener imap {
    port = @IMAP@
  }
  inet_listener imaps {
    port = @IMAPS@
    ssl = yes
  }
}
service imap {
  process_limit = 6000
}
service auth {
  client_limit = 14000
}
service anvil {
  client_limit = 14000
}
service config {
  client_limit = 14000
}
service stats {
  client_limit = 14000
}
service log {
  client_limit = 14000
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
}
protocol lmtp {
  postmaster_address = postmaster@bench.test
}
C
cp /etc/postfix/dynamicmaps.cf /etc/postfix/postfix-files "$state"/postfix/
cp -r /etc/postfix/postfix-files.d /etc/postfix/dynamicmaps.cf.d "$state"/postfix/ 2>/dev/null || true
cat >"$state"/postfix/main.cf <<C
compatibility_level = 3.6
myhostname = mx.bench.test
mydestination = localhost
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
queue_directory = $state/spool
data_directory = $state/data
maillog_file = $state/postfix.log
maillog_file_prefixes = $state
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
relayhost = [127.0.0.1]:@SINK@
virtual_mailbox_domains = bench.test
virtual_mailbox_maps = hash:$state/mailboxes
virtual_transport = lmtp:unix:private/dovecot-lmtp
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_limit = 0
C
postmap -c "$state"/postfix hash:"$state"/mailboxes
sed 's#^smtp      inet.*#127.0.0.1:@SMTP@ inet n - y - - smtpd#' /usr/share/postfix/master.cf.dist >"$state"/postfix/master.cf
/usr/sbin/dovecot -c "$state"/dovecot.conf
/usr/sbin/postfix -c "$state"/postfix start 2>/dev/null
for n in $(seq 100); do [ -S "$state"/run/lmtp ] && [ -d "$state"/spool/private ] && break; sleep 0.1; done
ln -f "$state"/run/lmtp "$state"/spool/private/dovecot-lmtp
