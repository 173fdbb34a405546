# services.postern: the packaged units with drop-ins for paths, settings and credentials. Nothing of the sandbox is repeated here.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    literalExpression
    mkDefault
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    types
    ;
  cfg = config.services.postern;

  services = [
    "mx"
    "submission"
    "imap"
    "scan"
    "dns"
    "send"
    "queue"
    "store"
    "auth"
    "keys"
  ];
  # These keep state, so their users must not change.
  users = [
    "queue"
    "store"
    "auth"
    "keys"
  ];

  format = pkgs.formats.toml { };
  # TOML has no null; what is not given has the program's default.
  given = lib.filterAttrs (_: value: value != null);
  written = format.generate "postern.toml" cfg.settings;
  # What the shipped program refuses is not built. Where it cannot run, the daemons refuse it at start.
  checked =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      pkgs.runCommand "postern.toml" { } ''
        ${lib.getExe cfg.package} check ${written}
        cp ${written} $out
      ''
    else
      written;

  # The units show a process its program and the C library and nothing else. Here both are store paths: those, and none beside.
  closure = pkgs.runCommand "postern-closure" { } ''
    for service in ${toString services}; do
      directory=$out/lib/systemd/system/postern-$service.service.d
      mkdir -p $directory
      {
        echo '[Service]'
        sed 's/^/BindReadOnlyPaths=/' ${pkgs.closureInfo { rootPaths = [ cfg.package ]; }}/store-paths
      } > $directory/closure.conf
    done
  '';

  ports = [
    25
    465
    993
  ]
  ++ lib.optional cfg.submission.enable 587
  ++ lib.optional cfg.imap.enable 143;

  addresses =
    lib.concatLists (lib.mapAttrsToList (name: account: [ name ] ++ account.aliases) cfg.accounts)
    ++ lib.attrNames cfg.aliases;
  duplicates = lib.attrNames (
    lib.filterAttrs (_: uses: lib.length uses > 1) (lib.groupBy lib.toLower addresses)
  );
  domains = map lib.toLower (lib.attrNames cfg.domains);
  domainOf = address: lib.toLower (lib.last (lib.splitString "@" address));
  homeless = lib.filter (address: !lib.elem (domainOf address) domains) addresses;

  smarthosts = cfg.settings.send.smarthosts or { };
  # A file that the configuration names and a process reads in place, through a unit that shows it nothing else.
  anchors = lib.toList (cfg.settings.dns.trust_anchor or [ ]);
  authorities = lib.catAttrs "certificate_authority" (lib.attrValues smarthosts);
  undeclared = lib.filter (name: !smarthosts ? ${name}) (lib.attrNames cfg.smarthostPasswordFiles);

  files = cfg.tls.certificate != null && cfg.tls.privateKey != null;
  acme = config.security.acme.certs.${cfg.tls.useACMEHost};
in
{
  options.services.postern = {
    enable = mkEnableOption "the Postern mail system";

    package = lib.mkPackageOption pkgs "postern" { };

    hostName = mkOption {
      type = types.str;
      default = config.networking.fqdn;
      defaultText = literalExpression "config.networking.fqdn";
      example = "mail.example.org";
      description = "What the servers call themselves. Its address records should point to this machine, and back.";
    };

    domains = mkOption {
      default = { };
      example = literalExpression ''{ "example.org".catchAll = "alice@example.org"; }'';
      description = "The domains that mail is accepted for.";
      type = types.attrsOf (
        types.submodule {
          options = {
            catchAll = mkOption {
              type = types.nullOr types.str;
              default = null;
              description = "Receives mail for every address of the domain that does not exist; null: such mail is refused.";
            };
            aliasOf = mkOption {
              type = types.nullOr types.str;
              default = null;
              example = "example.org";
              description = "Every address of this domain is the same address of that one, which is declared too; null: it has its own.";
            };
            subaddressSeparator = mkOption {
              type = types.nullOr types.str;
              default = null;
              example = "-";
              description = "What stands between user and detail in alice+news@example.org; null: `+`, empty: nothing.";
            };
          };
        }
      );
    };

    accounts = mkOption {
      default = { };
      description = "Declared accounts by address. Accounts made with {command}`postern account add` live beside them.";
      type = types.attrsOf (
        types.submodule {
          options = {
            hashedPasswordFile = mkOption {
              type = types.nullOr types.externalPath;
              default = null;
              example = "/run/secrets/alice";
              description = ''
                A file with the argon2id hash of the password, such as
                {command}`argon2 "$(openssl rand -hex 8)" -id -e` prints. It is read by PID 1 and given to `auth` alone.
                Null: the password is set by {command}`postern account passwd`.
              '';
            };
            aliases = mkOption {
              type = types.listOf types.str;
              default = [ ];
              description = "Further addresses that the account receives for and may send as.";
            };
            quota = mkOption {
              type = types.nullOr (types.either types.ints.positive types.str);
              default = null;
              example = "5 GiB";
              description = "How much mail the account may keep; null: {option}`services.postern.settings.limits.quota`.";
            };
          };
        }
      );
    };

    aliases = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      example = {
        "info@example.org" = [ "alice@example.org" ];
      };
      description = "Addresses that are not accounts, each with its targets.";
    };

    tls = {
      certificate = mkOption {
        type = types.nullOr types.externalPath;
        default = null;
        example = "/run/secrets/mail.crt";
        description = "A PEM file with the certificate chain. It is read by PID 1 and given to `keys` alone.";
      };
      privateKey = mkOption {
        type = types.nullOr types.externalPath;
        default = null;
        example = "/run/secrets/mail.key";
        description = "A PEM file with the private key of {option}`services.postern.tls.certificate`.";
      };
      useACMEHost = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "A name in {option}`security.acme.certs` whose certificate is used; a renewal ends no session.";
      };
    };

    smarthostPasswordFiles = mkOption {
      type = types.attrsOf types.externalPath;
      default = { };
      example = {
        relay = "/run/secrets/relay";
      };
      description = ''
        Files with the passwords of {option}`services.postern.settings.send.smarthosts`, by their names. They are read by PID 1 and given
        to `send` alone. A file {file}`/etc/credstore/smarthost.NAME` does the same.
      '';
    };

    allowedAddresses = {
      send = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "10.1.2.3" ];
        description = ''
          Addresses and prefixes that `send` may connect to beside public ones and those of `settings.send.private_networks`: a smarthost of
          your own network.
          {manpage}`systemd.resource-control(5)` has their form.
        '';
      };
      dns = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "169.254.169.254" ];
        description = ''
          Addresses and prefixes of name servers that are neither public, nor private, nor of this host: link-local ones, as some clouds have.
        '';
      };
    };

    submission.enable = mkEnableOption "port 587, where TLS begins with STARTTLS, beside port 465";
    imap.enable = mkEnableOption "port 143, where TLS begins with STARTTLS, beside port 993";

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the ports of the enabled listeners.";
    };

    settings = mkOption {
      default = { };
      example = {
        limits.message_size = "100 MiB";
        dns.recursive = true;
        send.smarthost = "relay";
        send.smarthosts.relay = {
          host = "smtp.example.com";
          user = "postern";
        };
      };
      description = ''
        {file}`postern.toml`; every key is in {file}`src/pure/config/postern.example.toml`. The other options fill it in. Passwords have no
        place here: {option}`services.postern.smarthostPasswordFiles` names theirs.
      '';
      type = types.submodule { freeformType = format.type; };
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = homeless == [ ];
        message = "services.postern: these addresses are in no domain of services.postern.domains, add their domains: ${toString homeless}";
      }
      {
        assertion = duplicates == [ ];
        message = "services.postern: these addresses are given more than once in accounts and aliases: ${toString duplicates}";
      }
      {
        assertion = (cfg.tls.certificate == null) == (cfg.tls.privateKey == null);
        message = "services.postern.tls: name both certificate and privateKey, or neither";
      }
      {
        assertion = !(files && cfg.tls.useACMEHost != null);
        message = "services.postern.tls: choose either certificate and privateKey or useACMEHost";
      }
      {
        assertion = files || cfg.tls.useACMEHost != null || cfg.settings ? tls;
        message = "services.postern.tls: set useACMEHost, or certificate and privateKey; nobody could log in without TLS";
      }
      {
        assertion = undeclared == [ ];
        message = "services.postern.smarthostPasswordFiles: settings.send.smarthosts has none of these names: ${toString undeclared}";
      }
      {
        assertion = cfg.tls.useACMEHost == null || config.security.acme.certs ? ${cfg.tls.useACMEHost};
        message = "services.postern.tls.useACMEHost: security.acme.certs has no ${toString cfg.tls.useACMEHost}";
      }
    ];

    services.postern.settings = {
      hostname = mkDefault cfg.hostName;
      domains = lib.mapAttrs (
        _: domain:
        given {
          catch_all = domain.catchAll;
          alias_of = domain.aliasOf;
          subaddress_separator = domain.subaddressSeparator;
        }
      ) cfg.domains;
      accounts = lib.mapAttrs (_: account: given { inherit (account) aliases quota; }) cfg.accounts;
      inherit (cfg) aliases;
      tls = mkIf (cfg.tls.useACMEHost != null) {
        certificate = "${acme.directory}/fullchain.pem";
        private_key = "${acme.directory}/key.pem";
      };
    };

    environment.etc."postern/postern.toml".source = checked;
    environment.systemPackages = [ cfg.package ];

    users.users = lib.listToAttrs (
      map (name: {
        name = "postern-${name}";
        value = {
          isSystemUser = true;
          group = "postern-${name}";
        };
      }) users
    );
    users.groups = {
      # Opens the control edges, for operators who are not root.
      postern-admin = { };
    }
    // lib.listToAttrs (
      map (name: {
        name = "postern-${name}";
        value = { };
      }) users
    );

    systemd.packages = [
      cfg.package
      closure
    ];
    systemd.tmpfiles.packages = [ cfg.package ];

    systemd.targets.postern.wantedBy = [ "multi-user.target" ];

    systemd.sockets.postern-submission.wantedBy = mkIf cfg.submission.enable [ "postern.target" ];
    systemd.sockets.postern-imap.wantedBy = mkIf cfg.imap.enable [ "postern.target" ];

    systemd.services = mkMerge [
      (lib.listToAttrs (
        map (service: {
          name = "postern-${service}";
          value = {
            # Nothing is ever executed.
            enableDefaultPath = false;
            # On a switch the service is started again under its listening sockets, which refuse nobody meanwhile.
            stopIfChanged = false;
            # A credential is a copy that is made at start.
            restartTriggers = [ checked ];
          };
        }) services
      ))
      {
        postern-auth.serviceConfig.LoadCredential = lib.mapAttrsToList (
          name: account: "account.${name}:${account.hashedPasswordFile}"
        ) (lib.filterAttrs (_: account: account.hashedPasswordFile != null) cfg.accounts);
      }
      {
        postern-dns.serviceConfig = {
          BindReadOnlyPaths = anchors;
          # Added to those of its slice, which is all that a process may reach.
          IPAddressAllow = cfg.allowedAddresses.dns;
        };
        postern-send.serviceConfig = {
          BindReadOnlyPaths = authorities;
          IPAddressAllow = cfg.allowedAddresses.send ++ (cfg.settings.send.private_networks or [ ]);
          LoadCredential = lib.mapAttrsToList (name: file: "smarthost.${name}:${file}") cfg.smarthostPasswordFiles;
        };
      }
      (mkIf files {
        postern-keys.serviceConfig.LoadCredential = [
          "tls.crt:${cfg.tls.certificate}"
          "tls.key:${cfg.tls.privateKey}"
        ];
      })
      (mkIf (cfg.tls.useACMEHost != null) {
        postern-keys = {
          wants = [ "acme-${cfg.tls.useACMEHost}.service" ];
          after = [ "acme-${cfg.tls.useACMEHost}.service" ];
          # Read in place, so that a reload sees a renewed certificate.
          serviceConfig = {
            BindReadOnlyPaths = [ acme.directory ];
            SupplementaryGroups = [ acme.group ];
          };
        };
      })
    ];

    security.acme.certs = mkIf (cfg.tls.useACMEHost != null) {
      ${cfg.tls.useACMEHost}.reloadServices = [ "postern-keys.service" ];
    };

    networking.firewall.allowedTCPPorts = mkIf cfg.openFirewall ports;
  };
}
