// Alpine's build for a strict content policy evaluates no script from attributes, so what unfold writes
// there as expressions with globals is registered by name here.
document.addEventListener("alpine:init", () => {
  Alpine.data("theme", theme);
  Alpine.data("searchForm", searchForm);
  Alpine.data("searchDropdown", searchDropdown);

  Alpine.data("searchCommand", () => ({
    ...searchCommand(),
    opener: null,
    handleOpen() {
      this.opener = document.activeElement;
      searchCommand().handleOpen.call(this);
    },
    handleEscape() {
      searchCommand().handleEscape.call(this);
      if (!this.openCommandResults) this.opener?.focus();
    },
    handleOutsideClick() {
      if (!this.openCommandResults) return;
      searchCommand().handleOutsideClick.call(this);
      this.opener?.focus();
    },
    chooseItem(event) {
      if (!this.items || this.items.length === 0) return;
      if (this.currentIndex === 0) this.currentIndex = 1;
      this.selectItem(Boolean(event.target.dataset.history), event.metaKey || event.ctrlKey);
    },
  }));

  Alpine.data("page", () => ({
    activeTab: "",
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
    // the change form's action names these; only what it reads is given
    window: { location: { pathname: location.pathname, search: location.search } },
    // wrapped, because what is reachable as a global may not be named in an attribute
    sortRecords: (event) => sortRecords(event),
    moveRecords: (event) => moveRecords(event),
    init() {
      this.activeTab = getCurrentTab() || this.$el.dataset.firstTab;
      this.$watch("sidebarDesktopOpen", (open) => localStorage.setItem("sidebarDesktopOpen", open ? "1" : "0"));
      this.$el.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && this.sidebarMobileOpen) this.closeMenu();
      });
    },
    openMenu() {
      this.sidebarMobileOpen = true;
      this.$nextTick(() => document.getElementById("close-menu")?.focus());
    },
    closeMenu() {
      this.sidebarMobileOpen = false;
      this.$nextTick(() => document.getElementById("open-menu")?.focus());
    },
  }));
});
