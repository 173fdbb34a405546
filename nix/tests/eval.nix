# The module without a virtual machine: it is evaluated, and what it makes is compared.
{
  self,
  nixpkgs,
  pkgs,
}:
let
  inherit (nixpkgs) lib;

  evaluate =
    module:
    (lib.nixosSystem {
      modules = [
        self.nixosModules.default
        {
          nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
          system.stateVersion = lib.trivial.release;
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "none";
            fsType = "tmpfs";
          };
          networking = {
            hostName = "mail";
            domain = "example.org";
          };
        }
        module
      ];
    }).config;

  failed = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  refuses = part: module: lib.any (lib.hasInfix part) (failed (evaluate module));

  files.services.postern.tls = {
    certificate = "/run/secrets/mail.crt";
    privateKey = "/run/secrets/mail.key";
  };
  bare.services.postern = {
    enable = true;
    openFirewall = true;
    domains."example.org" = { };
  };
  base.imports = [
    bare
    files
  ];
  acme = {
    imports = [ bare ];
    security.acme = {
      acceptTerms = true;
      defaults.email = "postmaster@example.org";
      certs."mail.example.org".listenHTTP = ":80";
    };
    services.postern.tls.useACMEHost = "mail.example.org";
  };
  full = {
    imports = [ base ];
    services.postern = {
      accounts."alice@example.org" = {
        hashedPasswordFile = "/run/secrets/alice";
        aliases = [ "postmaster@example.org" ];
        quota = "5 GiB";
      };
      aliases."info@example.org" = [ "alice@example.org" ];
      submission.enable = true;
      imap.enable = true;
      settings.limits.message_size = "100 MiB";
    };
  };
  sends = {
    imports = [ base ];
    services.postern = {
      domains."example.com".aliasOf = "example.org";
      allowedAddresses.send = [ "10.1.2.3" ];
      smarthostPasswordFiles.relay = "/run/secrets/relay";
      settings = {
        dns.trust_anchor = "/etc/postern/root.key";
        send.smarthost = "relay";
        send.smarthosts.relay = {
          host = "smtp.example.com";
          user = "postern";
          certificate_authority = "/etc/postern/relay-ca.pem";
        };
      };
    };
  };
  keys = config: config.systemd.services.postern-keys.serviceConfig;

  tests = {
    testNothingIsWrongWithFiles = {
      expr = failed (evaluate full);
      expected = [ ];
    };
    testNothingIsWrongWithACME = {
      expr = failed (evaluate acme);
      expected = [ ];
    };
    testUsualPorts = {
      expr = (evaluate base).networking.firewall.allowedTCPPorts;
      expected = [
        25
        465
        993
      ];
    };
    testAllPorts = {
      expr = (evaluate full).networking.firewall.allowedTCPPorts;
      expected = [
        25
        143
        465
        587
        993
      ];
    };
    testOptionalListeners = {
      expr = map (name: (evaluate full).systemd.sockets.${name}.wantedBy) [
        "postern-submission"
        "postern-imap"
      ];
      expected = [
        [ "postern.target" ]
        [ "postern.target" ]
      ];
    };
    testNoOptionalListeners = {
      expr = (evaluate base).systemd.sockets.postern-submission.wantedBy;
      expected = [ ];
    };
    testHostName = {
      expr = (evaluate base).services.postern.settings.hostname;
      expected = "mail.example.org";
    };
    testSettings = {
      expr = (evaluate full).services.postern.settings;
      expected = {
        hostname = "mail.example.org";
        domains."example.org" = { };
        accounts."alice@example.org" = {
          aliases = [ "postmaster@example.org" ];
          quota = "5 GiB";
        };
        aliases."info@example.org" = [ "alice@example.org" ];
        limits.message_size = "100 MiB";
      };
    };
    testUnitsAreWritten = {
      expr =
        lib.hasInfix "LoadCredential=tls.key:/run/secrets/mail.key"
          (evaluate full).systemd.units."postern-keys.service".text;
      expected = true;
    };
    testPasswordsGoToAuthAlone = {
      expr = lib.attrNames (
        lib.filterAttrs (
          _: s: lib.any (lib.hasInfix "alice") (lib.toList (s.serviceConfig.LoadCredential or [ ]))
        ) (evaluate full).systemd.services
      );
      expected = [ "postern-auth" ];
    };
    testKeysGoToKeysAlone = {
      expr = lib.attrNames (
        lib.filterAttrs (
          _: s: lib.any (lib.hasInfix "mail.key") (lib.toList (s.serviceConfig.LoadCredential or [ ]))
        ) (evaluate full).systemd.services
      );
      expected = [ "postern-keys" ];
    };
    testNothingIsWrongWithSmarthosts = {
      expr = failed (evaluate sends);
      expected = [ ];
    };
    testAliasDomain = {
      expr = (evaluate sends).services.postern.settings.domains."example.com";
      expected.alias_of = "example.org";
    };
    testPasswordsOfSmarthostsGoToSendAlone = {
      expr = lib.attrNames (
        lib.filterAttrs (
          _: s: lib.any (lib.hasInfix "relay") (lib.toList (s.serviceConfig.LoadCredential or [ ]))
        ) (evaluate sends).systemd.services
      );
      expected = [ "postern-send" ];
    };
    testDeclaredFilesAreReadInPlace = {
      expr = map (name: (evaluate sends).systemd.services.${name}.serviceConfig.BindReadOnlyPaths) [
        "postern-dns"
        "postern-send"
      ];
      expected = [
        [ "/etc/postern/root.key" ]
        [ "/etc/postern/relay-ca.pem" ]
      ];
    };
    testAddressesAreAddedToTheUnits = {
      expr = map (name: (evaluate sends).systemd.services.${name}.serviceConfig.IPAddressAllow) [
        "postern-dns"
        "postern-send"
      ];
      expected = [
        [ ]
        [ "10.1.2.3" ]
      ];
    };
    testUndeclaredSmarthost = {
      expr = refuses "none of these names" {
        imports = [ base ];
        services.postern.smarthostPasswordFiles.relay = "/run/secrets/relay";
      };
      expected = true;
    };
    testACMEIsReadInPlace = {
      expr = {
        inherit (keys (evaluate acme)) BindReadOnlyPaths SupplementaryGroups;
        reload = (evaluate acme).security.acme.certs."mail.example.org".reloadServices;
      };
      expected = {
        BindReadOnlyPaths = [ "/var/lib/acme/mail.example.org" ];
        SupplementaryGroups = [ "acme" ];
        reload = [ "postern-keys.service" ];
      };
    };
    testTheSandboxIsThePackagesOwn = {
      expr = lib.any (s: s.serviceConfig ? PrivateNetwork) (
        lib.attrValues (
          lib.filterAttrs (name: _: lib.hasPrefix "postern-" name) (evaluate full).systemd.services
        )
      );
      expected = false;
    };
    testUnknownDomain = {
      expr = refuses "in no domain" {
        imports = [ base ];
        services.postern.accounts."a@nowhere.test" = { };
      };
      expected = true;
    };
    testDuplicate = {
      expr = refuses "more than once" {
        imports = [ full ];
        services.postern.accounts."Postmaster@example.org" = { };
      };
      expected = true;
    };
    testNoTLS = {
      expr = refuses "nobody could log in" bare;
      expected = true;
    };
    testHalfACertificate = {
      expr = refuses "both certificate and privateKey" {
        imports = [ bare ];
        services.postern.tls.certificate = "/run/secrets/mail.crt";
      };
      expected = true;
    };
    # NIX-01: a secret that would be copied into the store is refused.
    testSecretInTheStore = {
      expr =
        (builtins.tryEval (
          builtins.deepSeq
            (evaluate {
              imports = [ base ];
              services.postern.accounts."a@example.org".hashedPasswordFile = ./eval.nix;
            }).services.postern.accounts
            true
        )).success;
      expected = false;
    };
  };
  failures = lib.runTests tests;
in
if failures == [ ] then
  pkgs.runCommand "postern-module" { } "touch $out"
else
  throw (lib.generators.toPretty { } failures)
