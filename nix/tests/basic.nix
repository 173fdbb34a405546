# The main job between two machines: swaks sends, Python's imaplib reads.
{ lib, hostPkgs, ... }:
let
  password = "correct horse battery";
  # Made while the test is built: nothing here is anybody's secret.
  secrets =
    hostPkgs.runCommand "postern-test-secrets"
      {
        nativeBuildInputs = [
          hostPkgs.openssl
          hostPkgs.libargon2
        ];
      }
      ''
        mkdir $out
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 \
          -subj /CN=mail.example.org -addext subjectAltName=DNS:mail.example.org,DNS:server \
          -keyout $out/tls.key -out $out/tls.crt
        echo -n '${password}' | argon2 somesaltofalice -id -t 2 -k 19456 -p 1 -e > $out/alice
      '';
in
{
  name = "postern-basic";

  nodes.server = {
    # As a secrets manager would put them there before the first service starts.
    systemd.tmpfiles.settings.postern-test = lib.genAttrs' [ "tls.key" "tls.crt" "alice" ] (
      name:
      lib.nameValuePair "/run/secrets/${name}" {
        C = {
          argument = "${secrets}/${name}";
          mode = "0600";
        };
      }
    );
    services.postern = {
      enable = true;
      openFirewall = true;
      hostName = "mail.example.org";
      domains."example.org" = { };
      accounts."alice@example.org".hashedPasswordFile = "/run/secrets/alice";
      tls = {
        certificate = "/run/secrets/tls.crt";
        privateKey = "/run/secrets/tls.key";
      };
    };
  };

  nodes.client =
    { pkgs, ... }:
    {
      environment.systemPackages = [
        pkgs.swaks
        (pkgs.writeScriptBin "read-mail" ''
          #!${pkgs.python3.interpreter}
          import imaplib
          import ssl

          context = ssl.create_default_context(cafile="${secrets}/tls.crt")
          with imaplib.IMAP4_SSL("server", ssl_context=context) as imap:
              imap.login("alice@example.org", "${password}")
              imap.select("INBOX", readonly=True)
              numbers = imap.search(None, "ALL")[1][0].split()
              print(imap.fetch(numbers[-1], "(BODY.PEEK[])")[1][0][1].decode())
        '')
      ];
    };

  testScript = ''
    start_all()
    server.wait_for_unit("postern.target")
    services = ("mx", "submission", "imap", "scan", "dns", "send", "queue", "store", "auth", "keys")
    for service in services:
        server.wait_for_unit(f"postern-{service}.service")
    for port in (25, 465, 993):
        server.wait_for_open_port(port)
    server.fail("ss -Htln | grep -E ':(143|587) '")

    client.succeed("swaks --server server --tls --from stranger@example.net --to alice@example.org --body 'through the gate'")
    client.wait_until_succeeds("read-mail | grep -q 'through the gate'")
    client.fail("swaks --server server --from stranger@example.net --to bob@elsewhere.example")

    for service in services:
        # In tenths: what SECURITY.md says.
        threshold = 8 if service in ("send", "dns") else 1
        server.succeed(f"systemd-analyze security --threshold={threshold} postern-{service}.service")
        pid = server.succeed(f"systemctl show --property=MainPID --value postern-{service}.service").strip()
        server.succeed(f"grep -q '^CapBnd:.0000000000000000$' /proc/{pid}/status")
        server.succeed(f"grep -q '^Seccomp:.2$' /proc/{pid}/status")
  '';
}
