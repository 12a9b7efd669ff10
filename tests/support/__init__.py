"""What tests share: real daemons, command line clients, terminals, images."""
