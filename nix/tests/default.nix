# For a machine without the flake's input: NIXPKGS=/path/to/nixpkgs nix-instantiate --eval --strict nix/tests
# Evaluates the package, the module's tests and the virtual machines; builds nothing.
let
  nixpkgs = builtins.getEnv "NIXPKGS";
  system = builtins.currentSystem;
  lib = import (nixpkgs + "/lib");
  pkgs = import nixpkgs {
    inherit system;
    overlays = [ ];
    config = { };
  };
  input = {
    lib = lib // {
      nixosSystem =
        arguments:
        import (nixpkgs + "/nixos/lib/eval-config.nix") (
          {
            inherit lib;
            system = null;
          }
          // arguments
        );
    };
    legacyPackages.${system} = pkgs;
  };
  self = (import ../../flake.nix).outputs {
    inherit self;
    nixpkgs = input;
  };
in
lib.mapAttrs (_: derivation: derivation.drvPath) self.checks.${system}
