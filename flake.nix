{
  description = "Postern: a mail system whose every process can be lost without losing the others";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # The confinement needs Linux, and its system call lists are written for these.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      packageFor = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system}.default;
    in
    {
      packages = eachSystem (pkgs: rec {
        postern = pkgs.callPackage ./nix/package.nix { };
        default = postern;
      });

      overlays.default = final: _: { postern = final.callPackage ./nix/package.nix { }; };

      nixosModules = rec {
        postern =
          { pkgs, ... }:
          {
            imports = [ ./nix/module.nix ];
            services.postern.package = lib.mkDefault (packageFor pkgs);
          };
        default = postern;
      };

      checks = eachSystem (pkgs: {
        package = packageFor pkgs;
        module = import ./nix/tests/eval.nix { inherit self nixpkgs pkgs; };
        vm-basic = pkgs.testers.runNixOSTest {
          imports = [ ./nix/tests/basic.nix ];
          defaults.imports = [ self.nixosModules.default ];
        };
      });

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (packageFor pkgs) ];
          packages = [
            pkgs.clippy
            pkgs.rustfmt
            pkgs.rust-analyzer
            pkgs.swaks
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
