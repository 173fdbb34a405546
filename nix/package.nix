{
  lib,
  rustPlatform,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
  daemons = [
    "postern-smtp"
    "postern-imap"
    "postern-scan"
    "postern-queue"
    "postern-store"
    "postern-auth"
    "postern-keys"
    "postern-dns"
    "postern-send"
  ];
in
rustPlatform.buildRustPackage {
  pname = "postern";
  inherit (manifest.workspace.package) version;

  # What a build reads, so that a change of the documentation builds nothing. The manifests of the tests belong to the workspace.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.cargo
      ../Cargo.lock
      ../Cargo.toml
      ../src
      ../systemd
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # One build for each program: built together they would share features, and storage code has been seen to end up in a listener.
  # Two libraries declare a newer compiler than they need.
  buildPhase = ''
    runHook preBuild
    for program in ${toString daemons} postern; do
      cargo build --profile release --offline --locked --ignore-rust-version --package "$program"
    done
    runHook postBuild
  '';

  # The tests start the appliance as a whole, in namespaces of their own; here they have no room for that.
  doCheck = false;

  installPhase = ''
    runHook preInstall
    for program in ${toString daemons}; do
      install -Dm555 -t "$out/lib/postern" "target/release/$program"
    done
    install -Dm555 -t "$out/bin" target/release/postern
    install -Dm444 -t "$out/lib/systemd/system" systemd/*.service systemd/*.socket systemd/*.slice systemd/*.target
    install -Dm444 systemd/postern.sysusers.conf "$out/lib/sysusers.d/postern.conf"
    install -Dm444 systemd/postern.tmpfiles.conf "$out/lib/tmpfiles.d/postern.conf"
    substituteInPlace "$out"/lib/systemd/system/*.service --replace-fail /usr/lib/postern/ "$out/lib/postern/"
    runHook postInstall
  '';

  passthru = { inherit daemons; };

  meta = {
    description = "Mail system of confined processes that hold nothing of each other's";
    mainProgram = "postern";
    license = [
      lib.licenses.asl20
      lib.licenses.mit
    ];
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
